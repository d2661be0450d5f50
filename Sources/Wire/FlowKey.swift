/// What makes a flow: the GWLB endpoint and the canonical inner tuple.
///
/// Canonical: the lower (address, port) pair stands first, so both directions give one key.
/// Ports are zero for protocols without ports and for *every* fragment, the first included:
/// later fragments have none, and all fragments of a packet must meet in one entry.
public struct FlowKey: Equatable, Hashable, Sendable, BitwiseCopyable {
    /// The GWLB endpoint id: address ranges behind different endpoints may overlap.
    public var endpoint: UInt64
    public var lowAddress: IPv6Address
    public var highAddress: IPv6Address
    public var lowPort: UInt16
    public var highPort: UInt16
    public var protocolNumber: UInt8
    /// 4 or 6.
    public var version: UInt8
    /// 1 for fragments, so that they never share an entry with whole packets without ports.
    public var fragment: UInt8
    @usableFromInline var unused: UInt8 = 0

    @inlinable @inline(__always)
    public init(
        endpoint: UInt64, version: UInt8, protocolNumber: UInt8,
        source: IPv6Address, destination: IPv6Address,
        sourcePort: UInt16, destinationPort: UInt16, isFragment: Bool
    ) {
        self.endpoint = endpoint
        self.version = version
        self.protocolNumber = protocolNumber
        fragment = isFragment ? 1 : 0
        if FlowKey.isLow(source, sourcePort, destination, destinationPort) {
            lowAddress = source
            highAddress = destination
            lowPort = sourcePort
            highPort = destinationPort
        } else {
            lowAddress = destination
            highAddress = source
            lowPort = destinationPort
            highPort = sourcePort
        }
    }

    /// True when (source, sourcePort) is the lower end: the packet runs from low to high. The
    /// lower halves of the addresses count first: of IPv4 they are all there is.
    @inlinable @inline(__always)
    public static func isLow(
        _ source: IPv6Address, _ sourcePort: UInt16,
        _ destination: IPv6Address, _ destinationPort: UInt16
    ) -> Bool {
        if source.low != destination.low { return source.low < destination.low }
        if source.high != destination.high { return source.high < destination.high }
        return sourcePort <= destinationPort
    }

    /// Ports, protocol, version and fragment mark in one word, as they lie in memory: one load.
    @inlinable @inline(__always)
    var tail: UInt64 {
        UInt64(lowPort) | UInt64(highPort) &<< 16 | UInt64(protocolNumber) &<< 32
            | UInt64(version) &<< 40 | UInt64(fragment) &<< 48 | UInt64(unused) &<< 56
    }

    /// Word by word, without a branch between.
    @inlinable @inline(__always)
    public static func == (a: FlowKey, b: FlowKey) -> Bool {
        let low = (a.lowAddress.low ^ b.lowAddress.low) | (a.lowAddress.high ^ b.lowAddress.high)
        let high =
            (a.highAddress.low ^ b.highAddress.low) | (a.highAddress.high ^ b.highAddress.high)
        return low | high | (a.endpoint ^ b.endpoint) | (a.tail ^ b.tail) == 0
    }

    /// A 64-bit hash for the flow table, keyed so that outsiders cannot aim at one bucket.
    @inlinable @inline(__always)
    public func hash(seed: UInt64) -> UInt64 {
        // The seed is in both operands: an outsider can make neither of them zero.
        let other = seed.byteSwapped
        var h = seed
        h = FlowKey.mix(h ^ lowAddress.low, other ^ 0x9E37_79B9_7F4A_7C15 ^ highAddress.low)
        h = FlowKey.mix(h ^ lowAddress.high, other ^ 0xD6E8_FEB8_6659_FD93 ^ highAddress.high)
        h = FlowKey.mix(h ^ endpoint, other ^ 0xA5A3_5625_E1F5_A7B1 ^ tail)
        return h
    }

    /// The two halves of the 128-bit product, folded.
    @inlinable @inline(__always)
    static func mix(_ a: UInt64, _ b: UInt64) -> UInt64 {
        let product = a.multipliedFullWidth(by: b)
        return product.high ^ product.low
    }
}
