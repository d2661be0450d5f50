import Dataplane

/// The addresses of a prefix, or from one to another. An IPv4 address stands in the low 32 bits.
public struct AddressRange: Equatable, BitwiseCopyable, Sendable {
    public var isIPv6: Bool
    public var first: UInt128
    public var last: UInt128

    public init(isIPv6: Bool, first: UInt128, last: UInt128) {
        precondition(first <= last)
        self.isIPv6 = isIPv6
        self.first = first
        self.last = last
    }

    /// Bits of `address` behind the prefix are ignored. - Precondition: length fits the version.
    public init(isIPv6: Bool, address: UInt128, length: Int) {
        let width = isIPv6 ? 128 : 32
        precondition(length >= 0 && length <= width)
        let host: UInt128 = (1 << UInt128(width - length)) &- 1
        self.init(isIPv6: isIPv6, first: address & ~host, last: address | host)
    }

    public func contains(_ address: UInt128, isIPv6: Bool) -> Bool {
        self.isIPv6 == isIPv6 && first <= address && address <= last
    }
}
