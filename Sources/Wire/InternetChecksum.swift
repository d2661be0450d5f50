import CSluice

/// The Internet checksum: RFC 1071 sums and RFC 1624 incremental updates.
///
/// A `Sum` is an unfolded ones'-complement sum in *native* byte order: RFC 1071 §2(B) shows that
/// the sum of byte-swapped words is the byte-swapped sum, so bytes are added as they lie in
/// memory and swapped once at the end. It has room for 2^32 32-bit words: no packet overflows it.
public struct InternetChecksum: Sendable {
    @usableFromInline var sum: UInt64

    @inlinable @inline(__always)
    public init() { sum = 0 }

    /// Adds `count` bytes starting at an even offset of what is summed. An odd last byte is
    /// padded with a zero byte on the right (RFC 1071 §4.1).
    @inlinable
    public mutating func add(_ view: PacketView, at offset: Int, count: Int) {
        assert(offset >= 0 && count >= 0 && offset &+ count <= view.count)
        // Sound: [offset, offset + count) lies in the view, asserted above, guarded by callers.
        unsafe add(UnsafeRawPointer(view.pointer(offset)), count: count)
    }

    /// The same for bytes that are in no packet; `p` must be valid for `count` bytes.
    @unsafe @inlinable
    public mutating func add(_ p: UnsafeRawPointer, count: Int) {
        var total: UInt64 = 0
        var i = 0
        let words = count & ~3
        // Headers are short: a call pays only for payloads.
        if words >= 64 {
            total = unsafe sluice_sum(p.assumingMemoryBound(to: UInt8.self), words)
            i = words
        }
        while i < words {
            total &+= unsafe UInt64(p.loadUnaligned(fromByteOffset: i, as: UInt32.self))
            i &+= 4
        }
        if count & 2 != 0 {
            total &+= unsafe UInt64(p.loadUnaligned(fromByteOffset: i, as: UInt16.self))
            i &+= 2
        }
        if count & 1 != 0 {
            let last = unsafe p.load(fromByteOffset: i, as: UInt8.self)
            total &+= UInt64(UInt16(littleEndian: UInt16(last)))
        }
        // Fold to 33 bits so that sums of sums cannot overflow.
        sum &+= (total & 0xFFFF_FFFF) &+ (total &>> 32)
    }

    /// Adds bytes that start at an odd offset of what is summed: the same sum, byte-swapped.
    @inlinable
    public mutating func addAtOdd(_ view: PacketView, at offset: Int, count: Int) {
        var part = InternetChecksum()
        part.add(view, at: offset, count: count)
        addAtOdd(part)
    }

    /// Adds one 16-bit field, given in host order.
    @inlinable @inline(__always)
    public mutating func add(_ field: UInt16) { sum &+= UInt64(field.bigEndian) }

    /// Adds a 32-bit field (an IPv4 address, an IPv6 payload length), given in host order.
    @inlinable @inline(__always)
    public mutating func add(_ field: UInt32) { sum &+= UInt64(field.bigEndian) }

    /// Adds the pseudo-header of what an IP packet carries: addresses, protocol and length (RFC 768,
    /// RFC 9293 §3.1, RFC 8200 §8.1).
    /// - Parameters:
    ///   - ip: where the IP header stands, of which the addresses are read.
    ///   - length: of the transport header and all behind it, bytes.
    @inlinable @inline(__always)
    public mutating func addPseudoHeader(
        of view: PacketView, at ip: Int, version: UInt8, _ protocolNumber: UInt8, length: Int
    ) {
        if version == 4 {
            add(view, at: ip &+ 12, count: 8)
        } else {
            add(view, at: ip &+ 8, count: 32)
        }
        addPseudoHeader(protocolNumber: protocolNumber, length: length)
    }

    /// The pseudo-header without the addresses, for who adds those apart.
    @inlinable @inline(__always)
    public mutating func addPseudoHeader(protocolNumber: UInt8, length: Int) {
        add(UInt16(protocolNumber))
        add(UInt32(truncatingIfNeeded: length))
    }

    @inlinable @inline(__always)
    public mutating func add(_ other: InternetChecksum) { sum &+= UInt64(other.folded) }

    /// Adds a sum of bytes that start at an odd offset of what is summed.
    @inlinable @inline(__always)
    public mutating func addAtOdd(_ other: InternetChecksum) {
        sum &+= UInt64(other.folded.byteSwapped)
    }

    /// The sum in 16 bits, native byte order.
    @inlinable
    public var folded: UInt16 {
        var s = (sum & 0xFFFF_FFFF) &+ (sum &>> 32)
        s = (s & 0xFFFF) &+ (s &>> 16)
        s = (s & 0xFFFF) &+ (s &>> 16)
        s = (s & 0xFFFF) &+ (s &>> 16)
        return UInt16(truncatingIfNeeded: s)
    }

    /// The checksum field for this sum, in host order: its ones' complement (RFC 1071 §1).
    @inlinable @inline(__always)
    public var checksum: UInt16 { ~UInt16(bigEndian: folded) }

    /// True when what was summed contained a right checksum: all ones (RFC 1071 §1).
    @inlinable @inline(__always)
    public var verifies: Bool { folded == 0xFFFF }

    /// RFC 1624 §3, equation 3: HC' = ~(~HC + ~m + m'), where `old` and `new` are the sums of
    /// the changed fields before and after. A wrong checksum stays wrong by the same difference.
    @inlinable
    public static func update(
        _ checksum: UInt16, removing old: InternetChecksum, adding new: InternetChecksum
    ) -> UInt16 {
        var s = InternetChecksum()
        s.add(~checksum)
        s.sum &+= UInt64(~old.folded)
        s.sum &+= UInt64(new.folded)
        return s.checksum
    }

    /// The same for a UDP checksum: 0 means "none" and stays (RFC 768), a computed 0 is sent as
    /// all ones (RFC 768, RFC 8200 §8.1).
    @inlinable
    public static func updateUDP(
        _ checksum: UInt16, removing old: InternetChecksum, adding new: InternetChecksum
    ) -> UInt16 {
        guard checksum != 0 else { return 0 }
        let updated = update(checksum, removing: old, adding: new)
        return updated == 0 ? 0xFFFF : updated
    }
}
