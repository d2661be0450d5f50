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
