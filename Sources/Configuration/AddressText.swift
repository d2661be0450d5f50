import CSluice
import Dataplane
import RuleEngine
import Wire

/// Addresses and prefixes as people write them, of both IP versions.
package enum AddressText {
    struct Prefix: Equatable {
        var isIPv6: Bool
        var address: UInt128
        var length: Int
        var range: AddressRange { AddressRange(isIPv6: isIPv6, address: address, length: length) }
    }

    enum Refusal: Error, Equatable {
        case notAnAddress
        /// Bits behind the prefix; what was probably meant.
        case hostBits(String)

        func text(_ expected: String, _ found: String) -> String {
            switch self {
            case .notAnAddress: "expected \(expected), found '\(found)'"
            case .hostBits(let meant): "'\(found)' has bits behind its prefix: write \(meant)"
            }
        }
    }

    /// "10.0.0.0/8", "2001:db8::/32", or an address alone.
    static func prefix(_ text: some RandomAccessCollection<UInt8>) -> Result<Prefix, Refusal> {
        let slash = text.firstIndex(of: UInt8(ascii: "/"))
        let head = text[..<(slash ?? text.endIndex)]
        let isIPv6 = head.contains(UInt8(ascii: ":"))
        guard let address = isIPv6 ? ipv6(head) : ipv4(head).map({ UInt128($0) }) else {
            return .failure(.notAnAddress)
        }
        let width = isIPv6 ? 128 : 32
        var length = width
        if let slash {
            guard let value = number(text[text.index(after: slash)...], max: width) else {
                return .failure(.notAnAddress)
            }
            length = value
        }
        let network = AddressRange(isIPv6: isIPv6, address: address, length: length).first
        guard network == address else {
            return .failure(.hostBits("\(format(network, isIPv6: isIPv6))/\(length)"))
        }
        return .success(Prefix(isIPv6: isIPv6, address: address, length: length))
    }

    private static func number(_ text: some Collection<UInt8>, max: Int) -> Int? {
        guard !text.isEmpty, text.count <= 3 else { return nil }
        var value = 0
        for byte in text {
            guard byte &- 48 < 10 else { return nil }
            value = value * 10 + Int(byte - 48)
        }
        return value <= max && (text.count == 1 || text.first != 48) ? value : nil
    }

    private static func ipv4(_ text: some Collection<UInt8>) -> UInt32? {
        var address: UInt32 = 0
        var parts = 0
        var value: UInt32 = 0
        var digits = 0
        for byte in text {
            if byte == UInt8(ascii: ".") {
                guard digits > 0, parts < 3 else { return nil }
                address = address << 8 | value
                parts += 1
                value = 0
                digits = 0
            } else {
                // No leading zeros: some read them as octal.
                guard byte &- 48 < 10, digits == 0 || value != 0 else { return nil }
                value = value * 10 + UInt32(byte - 48)
                digits += 1
                guard value <= 255 else { return nil }
            }
        }
        return digits > 0 && parts == 3 ? address << 8 | value : nil
    }

    private static func ipv6(_ text: some Collection<UInt8>) -> UInt128? {
        guard text.count <= 45,
            let address = IPAddress(String(decoding: text, as: UTF8.self)), address.version == 6
        else { return nil }
        return UInt128(address.bits.high) << 64 | UInt128(address.bits.low)
    }

    package static func format(_ address: UInt128, isIPv6: Bool) -> String {
        guard isIPv6 else { return IPv4Address.format(UInt32(truncatingIfNeeded: address)) }
        let bytes = (0..<16).map { UInt8(truncatingIfNeeded: address >> UInt128(120 - 8 * $0)) }
        var text = [CChar](repeating: 0, count: 64)
        // Sound: inet_ntop reads 16 bytes and writes no more than the size that it is told.
        _ = unsafe inet_ntop(AF_INET6, bytes, &text, socklen_t(text.count))
        let characters = text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
        return String(decoding: characters, as: UTF8.self)
    }
}

/// A file of prefixes: one a line, `#` begins a comment.
enum PrefixFile {
    static let limit = 256 << 20
    private static let mostComplaints = 10

    /// - Parameter path: for the errors.
    static func parse(
        _ bytes: ArraySlice<UInt8>, _ path: String
    ) throws(ConfigErrors) -> [AddressRange] {
        var ranges: [AddressRange] = []
        var errors: [String] = []
        for (index, line) in bytes.split(separator: 10, omittingEmptySubsequences: false)
            .enumerated()
        {
            let text = trimmed(line.prefix { $0 != UInt8(ascii: "#") })
            guard !text.isEmpty else { continue }
            switch AddressText.prefix(text) {
            case .success(let prefix): ranges.append(prefix.range)
            case .failure(let refusal):
                let found = String(decoding: text.prefix(60), as: UTF8.self)
                let reason = refusal.text("an address or prefix", found)
                errors.append("\(path):\(index + 1): \(reason)")
            }
            if errors.count == mostComplaints { break }
        }
        guard errors.isEmpty else { throw ConfigErrors(errors) }
        guard !ranges.isEmpty else { throw ConfigErrors(["\(path): no address or prefix in it"]) }
        return ranges
    }

    private static func trimmed(_ line: ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        let isSpace: (UInt8) -> Bool = { $0 == 32 || $0 == 9 || $0 == 13 }
        var line = line.drop(while: isSpace)
        while let last = line.last, isSpace(last) { line.removeLast() }
        return line
    }
}
