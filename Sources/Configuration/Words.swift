/// Values of a policy in plain words.
package enum Words {
    static func any(_ list: [String]) -> String {
        let shown = list.prefix(8)
        let rest = list.count > shown.count ? " or \(list.count - shown.count) more" : ""
        return shown.joined(separator: " or ") + rest
    }

    static func numbers(_ ranges: [ClosedRange<UInt16>]) -> String {
        any(ranges.map { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound)" })
    }

    /// Bytes as the file may have them, at most `limit`.
    package static func quote(_ bytes: [UInt8], limit: Int = .max) -> String {
        let text = bytes.prefix(limit).map { byte in
            switch byte {
            case UInt8(ascii: "\\"): "\\\\"
            case UInt8(ascii: "'"): "''"
            case 32..<127: String(UnicodeScalar(byte))
            default: "\\x" + (byte < 16 ? "0" : "") + String(byte, radix: 16)
            }
        }
        return "'\(text.joined())'\(bytes.count > limit ? "…" : "")"
    }
}
