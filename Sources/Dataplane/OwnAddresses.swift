import PacketIO
import Synchronization

/// The IPv4 addresses of this host, which no packet to be answered may come from.
///
/// Written by the control side and read by workers, both without waiting, in memory that lives as
/// long as the process. While it is written, an address may be missed for the time of a look: what
/// circles then loses a hop at each turn.
@safe public struct OwnAddresses: @unchecked Sendable, BitwiseCopyable {
    // Words: the last bits, the count, then prefixes, each with the network above its mask.
    @usableFromInline static var firstPrefix: Int { 2 }
    @usableFromInline let words: UnsafeMutablePointer<Atomic<UInt64>>?
    private let room: Int

    /// Those of a host that nobody has looked at: every source may be one.
    public init() {
        unsafe words = nil
        room = 0
    }

    /// - Parameter room: prefixes at most; later ones are left out.
    public init(room: Int) {
        let count = OwnAddresses.firstPrefix + room
        let memory = UnsafeMutablePointer<Atomic<UInt64>>.allocate(capacity: count)
        for i in 0..<count { unsafe (memory + i).initialize(to: Atomic(0)) }
        unsafe words = memory
        self.room = room
    }

    /// Called by one thread. Those of 127.0.0.0/8 are left out: nobody may have one on a wire.
    public func set(_ local: LocalAddresses) {
        guard let words = unsafe words else { return }
        let single = local.single.map { AddressPrefix(address: $0, length: 32) }
        let all = (single + local.prefixes).filter { $0.address >> 24 != 127 }.prefix(room)
        for (i, prefix) in all.enumerated() {
            let word = UInt64(prefix.address) << 32 | UInt64(prefix.mask)
            unsafe words[OwnAddresses.firstPrefix + i].store(word, ordering: .relaxed)
        }
        let bits = all.reduce(UInt64(0)) {
            $1.length < 32 ? ~0 : $0 | 1 << UInt64($1.address & 63)
        }
        unsafe words[1].store(UInt64(all.count), ordering: .releasing)
        unsafe words[0].store(bits, ordering: .releasing)
    }

    /// Bit n: the last six bits of one of them are n.
    @inlinable @inline(__always)
    var lastBits: UInt64 {
        guard let words = unsafe words else { return ~0 }
        return unsafe words[0].load(ordering: .relaxed)
    }

    @inlinable
    func contains(_ address: UInt32) -> Bool {
        guard let words = unsafe words else { return false }
        let count = unsafe Int(truncatingIfNeeded: words[1].load(ordering: .acquiring))
        for i in 0..<count {
            // Sound: set() counts no more than there is room for.
            let prefix = unsafe words[OwnAddresses.firstPrefix &+ i].load(ordering: .relaxed)
            let mask = UInt32(truncatingIfNeeded: prefix)
            if address & mask == UInt32(truncatingIfNeeded: prefix &>> 32) { return true }
        }
        return false
    }
}
