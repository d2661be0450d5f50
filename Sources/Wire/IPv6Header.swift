/// IPv6 header, RFC 8200 §3.
///
///     |Version| Traffic Class |           Flow Label                  |
///     |         Payload Length        |  Next Header  |   Hop Limit   |
///     |                Source Address (16 bytes)                      |
///     |              Destination Address (16 bytes)                   |
public struct IPv6Header: Equatable, Sendable, BitwiseCopyable {
    public static let length = 40

    public var version: UInt8 = 6
    public var trafficClass: UInt8 = 0
    /// 20 bits.
    public var flowLabel: UInt32 = 0
    /// Bytes after this header, extension headers included.
    public var payloadLength: UInt16 = 0
    public var nextHeader: UInt8 = 59
    public var hopLimit: UInt8 = 64
    public var source = IPv6Address(0, 0)
    public var destination = IPv6Address(0, 0)

    public init() {}

    /// Reads the header at `offset`; nil when 40 bytes are not there. Checks nothing else.
    @inlinable @inline(__always)
    public init?(_ view: PacketView, at offset: Int) {
        guard offset >= 0, view.count &- offset >= IPv6Header.length else { return nil }
        let first = view.u32(offset)
        version = UInt8(truncatingIfNeeded: first &>> 28)
        trafficClass = UInt8(truncatingIfNeeded: first &>> 20)
        flowLabel = first & 0xF_FFFF
        payloadLength = view.u16(offset &+ 4)
        nextHeader = view.u8(offset &+ 6)
        hopLimit = view.u8(offset &+ 7)
        source = IPv6Address(view.u64(offset &+ 8), view.u64(offset &+ 16))
        destination = IPv6Address(view.u64(offset &+ 24), view.u64(offset &+ 32))
    }

    /// Version 6 and no more payload than bytes that are there.
    @inlinable @inline(__always)
    public func isWellFormed(available: Int) -> Bool {
        version == 6 && IPv6Header.length &+ Int(payloadLength) <= available
    }

    /// - Precondition: 40 bytes are there.
    public func write(to view: PacketView, at offset: Int = 0) {
        precondition(offset >= 0 && view.count - offset >= IPv6Header.length)
        view.set32(
            offset, UInt32(version) << 28 | UInt32(trafficClass) << 20 | flowLabel & 0xF_FFFF)
        view.set16(offset + 4, payloadLength)
        view.set8(offset + 6, nextHeader)
        view.set8(offset + 7, hopLimit)
        view.set64(offset + 8, source.high)
        view.set64(offset + 16, source.low)
        view.set64(offset + 24, destination.high)
        view.set64(offset + 32, destination.low)
    }
}

/// 128 bits as two halves in host order. An IPv4 address stands in `low` alone.
public struct IPv6Address: Equatable, Hashable, Sendable, BitwiseCopyable {
    public var high: UInt64
    public var low: UInt64

    @inlinable @inline(__always)
    public init(_ high: UInt64, _ low: UInt64) {
        self.high = high
        self.low = low
    }

    @inlinable @inline(__always)
    public static func < (a: IPv6Address, b: IPv6Address) -> Bool {
        a.high != b.high ? a.high < b.high : a.low < b.low
    }
}

/// Where the chain of IPv6 extension headers ends (RFC 8200 §4).
public struct IPv6ExtensionWalk: Equatable, Sendable, BitwiseCopyable {
    /// The protocol that follows the chain.
    public var protocolNumber: UInt8
    /// Where that protocol's header starts, from the start of the view.
    public var offset: Int
    /// How many extension headers were passed.
    public var count: Int
    /// Where the fragment header starts, an atomic one's too; negative without one.
    public var fragmentHeader: Int
    /// Fragment header fields (RFC 8200 §4.5): offset in bytes, and the M flag. Both zero also
    /// for an atomic fragment (RFC 6946), which is a whole packet.
    public var fragmentOffset: Int
    public var moreFragments: Bool
    /// What a real fragment header names as next: the one protocol number on which the
    /// first and the later fragments of a packet agree. 0 without one.
    public var fragmentProtocol: UInt8

    @inlinable public var isFragment: Bool { fragmentOffset != 0 || moreFragments }

    /// Offset and M flag in the second word of a fragment header (RFC 8200 §4.5): both zero in an
    /// atomic fragment (RFC 6946).
    public static let fragmentBits: UInt16 = 0xFFF9

    /// Headers walked: hop-by-hop 0, routing 43, fragment 44, destination options 60. Everything
    /// else, ESP and AH included, is the protocol that ends the walk: authenticated or encrypted
    /// bytes are opaque to us.
    @inlinable @inline(__always)
    public static func isExtension(_ nextHeader: UInt8) -> Bool {
        nextHeader == 0 || nextHeader == 43 || nextHeader == 44 || nextHeader == 60
    }

    /// Walks from `offset` up to `end`, at most `limit` headers. Nil when a header does not fit,
    /// the chain is longer, or there are two fragment headers, of which hosts make different
    /// packets. A later fragment ends the walk: what follows is payload.
    @inlinable
    public init?(_ view: PacketView, at start: Int, end: Int, nextHeader: UInt8, limit: Int) {
        assert(start >= 0 && start <= end && end <= view.count)
        protocolNumber = nextHeader
        offset = start
        count = 0
        fragmentHeader = -1
        fragmentOffset = 0
        moreFragments = false
        fragmentProtocol = 0
        while IPv6ExtensionWalk.isExtension(protocolNumber) {
            // RFC 8200 §4: each extension header is a multiple of 8 bytes long.
            guard count < limit, end &- offset >= 8 else { return nil }
            count &+= 1
            let next = view.u8(offset)
            if protocolNumber == IPProtocol.ipv6Fragment {
                guard fragmentHeader < 0 else { return nil }
                fragmentHeader = offset
                // RFC 8200 §4.5: always 8 bytes, 13-bit offset in units of 8, M is bit 0.
                let field = view.u16(offset &+ 2)
                fragmentOffset = Int(field & 0xFFF8)
                moreFragments = field & 1 != 0
                if isFragment { fragmentProtocol = next }
                protocolNumber = next
                offset &+= 8
                if fragmentOffset != 0 { return }
            } else {
                let length = (Int(view.u8(offset &+ 1)) &+ 1) &* 8
                guard end &- offset >= length else { return nil }
                protocolNumber = next
                offset &+= length
            }
        }
    }
}
