import CSluice
import Synchronization

/// A PACKET_FANOUT group: packet sockets that share out what comes in, by a classic BPF program.
/// The first member gets a number that no other group of the network namespace has, the others
/// join by it.
public final class FanoutGroup: Sendable {
    private let number = Atomic<Int32>(0)
    /// PACKET_FANOUT_FLAG_IGNORE_OUTGOING of newer kernel headers: the group does not see what this
    /// host sends. Older kernels refuse it; there a member's filter has to look at the packet type.
    private static let ignoresOutgoing: Int32 = 0x4000

    public init() {}

    /// Joins a socket that listens. Members join in order of their index.
    ///
    /// - Parameters:
    ///   - index: 0 makes the group and gives it its program.
    ///   - count: how many members there will be.
    ///   - program: byte 0 is the network header; its result modulo `count` names the member.
    ///   - defragments: IPv4 fragments come in as the whole packet.
    public func join(
        _ socket: borrowing FileDescriptor, as index: Int, of count: Int, program: [sock_filter],
        defragments: Bool = true
    ) throws(IOFailure) {
        var flags = defragments ? PACKET_FANOUT_FLAG_DEFRAG : 0
        if index == 0 { flags |= PACKET_FANOUT_FLAG_UNIQUEID }
        do throws(IOFailure) {
            try set(socket, flags | FanoutGroup.ignoresOutgoing, count)
        } catch {
            guard error.errno == EINVAL else { throw error }
            try set(socket, flags, count)
        }
        guard index == 0 else { return }
        var value: Int32 = 0
        var size = socklen_t(MemoryLayout<Int32>.size)
        guard unsafe getsockopt(socket.raw, SOL_PACKET, PACKET_FANOUT, &value, &size) == 0 else {
            throw IOFailure("read the number of the fanout group")
        }
        number.store(value & 0xFFFF, ordering: .relaxed)
        try program.attach(
            to: socket.raw, SOL_PACKET, PACKET_FANOUT_DATA, "the steering program")
    }

    /// Number, type and flags; for more than 256 members their number as well.
    private func set(
        _ socket: borrowing FileDescriptor, _ flags: Int32, _ count: Int
    ) throws(IOFailure) {
        let id = number.load(ordering: .relaxed)
        var words: [Int32] = [id | (PACKET_FANOUT_CBPF | flags) << 16]
        if count > 256 { words.append(Int32(count)) }
        guard
            unsafe setsockopt(
                socket.raw, SOL_PACKET, PACKET_FANOUT, words, socklen_t(words.count * 4)) == 0
        else { throw IOFailure("join the fanout group") }
    }
}
