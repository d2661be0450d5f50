import CSluice
import PacketIO

/// Runs a classic BPF program in the kernel over any bytes, without privilege: a UNIX datagram
/// pair whose receiving end has the program attached. Its byte 0 is the datagram's byte 0.
final class KernelFilter {
    private let sender: FileDescriptor
    private let receiver: FileDescriptor

    init(_ program: [sock_filter]) throws {
        var ends: [Int32] = [0, 0]
        guard socketpair(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0, &ends) == 0 else {
            throw IOFailure("open a socket pair")
        }
        sender = FileDescriptor(ends[0])
        receiver = FileDescriptor(ends[1])
        try receiver.attach(program, "the program under test")
    }

    /// What is left of the bytes: as many as the program's result allows; nil when it is 0.
    func run(_ bytes: [UInt8]) throws -> Int? {
        let sent = bytes.withUnsafeBytes { send(sender.raw, $0.baseAddress, $0.count, 0) }
        guard sent == bytes.count else { throw IOFailure("send to the program under test") }
        var byte: UInt8 = 0
        let flags = Int32(MSG_DONTWAIT | MSG_TRUNC)
        let length = recv(receiver.raw, &byte, 1, flags)
        return length < 0 ? nil : length
    }

    func accepts(_ bytes: [UInt8]) throws -> Bool { try run(bytes) != nil }
}
