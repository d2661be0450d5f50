import CSluice

/// IPv4 addresses as host-order integers: reading and printing them, for flags and logs.
public enum IPv4Address {
    /// "192.0.2.1" → host order. Strict: four decimal numbers, no leading zeros.
    public static func parse(_ text: some StringProtocol) -> UInt32? {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 4 else { return nil }
        var address: UInt32 = 0
        for part in parts {
            guard let byte = UInt8(part), String(byte) == part else { return nil }
            address = address << 8 | UInt32(byte)
        }
        return address
    }

    public static func format(_ address: UInt32) -> String {
        "\(address >> 24).\(address >> 16 & 255).\(address >> 8 & 255).\(address & 255)"
    }
}

/// GWLB endpoint ids as AWS prints them: `vpce-` and 17 hex digits.
public enum EndpointID {
    public static func format(_ id: UInt64) -> String {
        let hex = String(id, radix: 16)
        return "vpce-" + String(repeating: "0", count: 17 - hex.count) + hex
    }

    /// Nil unless `vpce-` and 1 to 17 hex digits that fit 64 bits.
    public static func parse(_ text: some StringProtocol) -> UInt64? {
        guard text.hasPrefix("vpce-") else { return nil }
        let digits = text.dropFirst(5)
        guard (1...17).contains(digits.count) else { return nil }
        guard digits.allSatisfy({ $0.isASCII && $0.isHexDigit }) else { return nil }
        return UInt64(digits, radix: 16)
    }
}

/// An address of either IP version, as headers carry it; printed as RFC 5952 asks.
public struct IPAddress: Equatable, Hashable, Sendable, BitwiseCopyable, LosslessStringConvertible {
    /// 4 or 6.
    public var version: UInt8
    /// An IPv4 address stands in the low 32 bits.
    public var bits: IPv6Address

    @inlinable @inline(__always)
    public init(version: UInt8, _ bits: IPv6Address) {
        self.version = version
        self.bits = bits
    }

    /// "192.0.2.1" or "2001:db8::1"; nil for any other text.
    public init?(_ text: String) {
        if let address = IPv4Address.parse(text) {
            self.init(version: 4, IPv6Address(0, UInt64(address)))
            return
        }
        var address = in6_addr()
        // Sound: inet_pton reads a C string, and writes the one in6_addr that it is given.
        guard !text.utf8.contains(0), unsafe inet_pton(AF_INET6, text, &address) == 1 else {
            return nil
        }
        let words = unsafe withUnsafeBytes(of: address) { bytes in
            (0..<2).map {
                unsafe UInt64(
                    bigEndian: bytes.loadUnaligned(fromByteOffset: $0 * 8, as: UInt64.self))
            }
        }
        self.init(version: 6, IPv6Address(words[0], words[1]))
    }

    public var description: String {
        guard version != 4 else { return IPv4Address.format(UInt32(truncatingIfNeeded: bits.low)) }
        let groups = (0..<8).map { index in
            UInt16(
                truncatingIfNeeded: (index < 4 ? bits.high : bits.low)
                    >> UInt64(48 - index % 4 * 16))
        }
        let zeros = IPAddress.longestZeros(groups)
        func text(_ part: ArraySlice<UInt16>) -> String {
            part.map { String($0, radix: 16) }.joined(separator: ":")
        }
        guard zeros.count > 1 else { return text(groups[...]) }
        return "\(text(groups[..<zeros.lowerBound]))::\(text(groups[zeros.upperBound...]))"
    }

    /// The first of the longest runs of zero groups (RFC 5952 §4.2.3).
    private static func longestZeros(_ groups: [UInt16]) -> Range<Int> {
        var longest = 0..<0
        var start = 0
        for end in 1...groups.count {
            if groups[end - 1] != 0 {
                start = end
            } else if end - start > longest.count {
                longest = start..<end
            }
        }
        return longest
    }
}
