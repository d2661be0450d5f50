/// IPv4 header, RFC 791 §3.1.
///
///      0                   1                   2                   3
///      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
///     |Version|  IHL  |Type of Service|          Total Length         |
///     |         Identification        |Flags|      Fragment Offset    |
///     |  Time to Live |    Protocol   |         Header Checksum       |
///     |                       Source Address                          |
///     |                    Destination Address                        |
///     |                    Options …                                  |
public struct IPv4Header: Equatable, Sendable, BitwiseCopyable {
    public static let minimumLength = 20
    public static let maximumLength = 60

    /// Version and IHL, as on the wire.
    public var versionAndLength: UInt8 = 0x45
    /// DSCP and ECN (RFC 2474, RFC 3168).
    public var typeOfService: UInt8 = 0
    /// Header and payload, bytes.
    public var totalLength: UInt16 = 20
    public var identification: UInt16 = 0
    /// The three flags and the 13-bit fragment offset, as on the wire.
    public var flagsAndOffset: UInt16 = 0
    public var timeToLive: UInt8 = 64
    public var protocolNumber: UInt8 = 0
    public var checksum: UInt16 = 0
    /// Host byte order.
    public var source: UInt32 = 0
    /// Host byte order.
    public var destination: UInt32 = 0

    public init() {}

    /// Reads the fixed part at `offset`; nil when 20 bytes are not there. Checks nothing else.
    @inlinable @inline(__always)
    public init?(_ view: PacketView, at offset: Int) {
        guard offset >= 0, view.count &- offset >= IPv4Header.minimumLength else { return nil }
        versionAndLength = view.u8(offset)
        typeOfService = view.u8(offset &+ 1)
        totalLength = view.u16(offset &+ 2)
        identification = view.u16(offset &+ 4)
        flagsAndOffset = view.u16(offset &+ 6)
        timeToLive = view.u8(offset &+ 8)
        protocolNumber = view.u8(offset &+ 9)
        checksum = view.u16(offset &+ 10)
        source = view.u32(offset &+ 12)
        destination = view.u32(offset &+ 16)
    }

    @inlinable public var version: UInt8 {
        get { versionAndLength &>> 4 }
        set { versionAndLength = newValue &<< 4 | versionAndLength & 0x0F }
    }

    /// Header length in bytes (IHL × 4).
    @inlinable public var headerLength: Int {
        get { Int(versionAndLength & 0x0F) &* 4 }
        set { versionAndLength = versionAndLength & 0xF0 | UInt8(truncatingIfNeeded: newValue / 4) }
    }

    /// RFC 791 §3.1: version 4, 20 ≤ header ≤ total length, and RFC 1122 §3.2.1: no more than
    /// the bytes that are there.
    @inlinable @inline(__always)
    public func isWellFormed(available: Int) -> Bool {
        // Version 4 and an IHL of 5 to 15, in one comparison.
        versionAndLength &- 0x45 <= 0x4F - 0x45
            && Int(totalLength) >= headerLength && Int(totalLength) <= available
    }

    /// RFC 791 §3.1, flag bit 1.
    @inlinable public var dontFragment: Bool { flagsAndOffset & 0x4000 != 0 }
    /// RFC 791 §3.1, flag bit 2.
    @inlinable public var moreFragments: Bool { flagsAndOffset & 0x2000 != 0 }
    /// In bytes (RFC 791 counts units of 8).
    @inlinable public var fragmentOffset: Int { Int(flagsAndOffset & 0x1FFF) &* 8 }
    /// Any fragment, the first included.
    @inlinable public var isFragment: Bool { flagsAndOffset & 0x3FFF != 0 }

    /// Writes the fixed part at `offset` as it stands, checksum field included.
    /// - Precondition: 20 bytes are there.
    public func write(to view: PacketView, at offset: Int = 0) {
        precondition(offset >= 0 && view.count - offset >= IPv4Header.minimumLength)
        view.set8(offset, versionAndLength)
        view.set8(offset + 1, typeOfService)
        view.set16(offset + 2, totalLength)
        view.set16(offset + 4, identification)
        view.set16(offset + 6, flagsAndOffset)
        view.set8(offset + 8, timeToLive)
        view.set8(offset + 9, protocolNumber)
        view.set16(offset + 10, checksum)
        view.set32(offset + 12, source)
        view.set32(offset + 16, destination)
    }

    /// Computes and stores the header checksum (RFC 791 §3.1) of a header of `length` bytes.
    public static func writeChecksum(_ view: PacketView, at offset: Int, length: Int) {
        view.set16(offset + 10, 0)
        var sum = InternetChecksum()
        sum.add(view, at: offset, count: length)
        view.set16(offset + 10, sum.checksum)
    }

    /// What `turnAround` adds to the word of time to live and checksum: one less of the one, and the
    /// same number more of the other, where a carry out of its high byte is the one end-around.
    @inlinable public static var oneHop: UInt32 { 0x0001_0000 &- 1 }

    /// Swaps source and destination, and takes `hop` off the time to live: `oneHop`, or 0 to keep it.
    /// The checksums stay right: a ones'-complement sum does not depend on order (RFC 1071 §2(A)), and
    /// the header's follows the time to live (RFC 1624 §3).
    ///
    /// - Precondition: a header stands at 0, with a time to live of at least 1 when `hop` takes one.
    @inlinable @inline(__always)
    public static func turnAround(_ view: PacketView, hop: UInt32) {
        let addresses = view.stored64(12)
        view.setStored64(12, addresses &<< 32 | addresses &>> 32)
        // Time to live, protocol and the two bytes of the checksum, the first the lowest.
        let word = view.stored32(8)
        guard word < 0xFFFE_0000 else { return countHop(view, hop) }
        view.setStored32(8, word &+ hop)
    }

    /// The same for the two checksums, 0xFEFF and 0xFFFF, at which ones'-complement zero comes in.
    @inlinable @inline(never)
    static func countHop(_ view: PacketView, _ hop: UInt32) {
        guard hop != 0 else { return }
        var old = InternetChecksum()
        old.add(view.u16(8))
        view.set8(8, view.u8(8) &- 1)
        var new = InternetChecksum()
        new.add(view.u16(8))
        view.set16(10, InternetChecksum.update(view.u16(10), removing: old, adding: new))
    }

    /// True when the header checksum of `length` bytes at `offset` is right.
    @inlinable @inline(never)
    public static func verifyChecksum(_ view: PacketView, at offset: Int, length: Int) -> Bool {
        var sum = InternetChecksum()
        sum.add(view, at: offset, count: length)
        return sum.verifies
    }
}
