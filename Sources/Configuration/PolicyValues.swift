/// Values that several keys of a policy have.
extension ConfigField {
    /// A number, a range such as 1000-2000, or a list of them.
    ///
    /// - Parameter example: a range.
    func ranges(
        _ what: String, _ limits: ClosedRange<UInt16>, such example: String
    ) -> [ClosedRange<UInt16>]? {
        all(what) { item in
            item.range(in: limits)
                ?? item.fail(
                    "expected \(what) from \(limits.lowerBound) to \(limits.upperBound), or a range "
                        + "such as \(example), found \(item.found)\(item.reversal)")
        }
    }

    /// A number or a range; nil without a complaint.
    func range(in limits: ClosedRange<UInt16>) -> ClosedRange<UInt16>? {
        // A range is text to YAML, so it may have quotes.
        let text = node.scalar.flatMap { plain ?? ($0.string.contains("-") ? $0.string : nil) }
        let ends = (text ?? "").split(separator: "-", omittingEmptySubsequences: false)
            .map { ConfigField.number($0).flatMap { UInt16(exactly: $0) } }
        guard (1...2).contains(ends.count), let first = ends[0], let last = ends[ends.count - 1],
            first <= last, limits.contains(first), limits.contains(last)
        else { return nil }
        return first...last
    }

    /// Says that a range is the wrong way round; empty for everything else.
    var reversal: String {
        let ends = (node.scalar?.string ?? "").split(
            separator: "-", omittingEmptySubsequences: false
        ).map { ConfigField.number($0) }
        guard ends.count == 2, let first = ends[0], let last = ends[1], first > last else {
            return ""
        }
        return ": a reversed range, write \(last)-\(first)"
    }

    /// The bytes of a text with the escapes \xHH, \n, \r, \t, \0 and \\.
    func bytes(mayBeEmpty: Bool = false) -> [UInt8]? {
        guard let text = text("a text") else { return nil }
        var bytes: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "\\") else {
                bytes.append(byte)
                continue
            }
            guard let value = ConfigField.escape(&rest) else {
                return expected("a text with the escapes \\xHH, \\n, \\r, \\t, \\0 or \\\\")
            }
            bytes.append(value)
        }
        guard !bytes.isEmpty || mayBeEmpty else { return fail("expected at least one byte") }
        guard bytes.count <= 1024 else {
            return fail("expected at most 1024 bytes, found \(bytes.count)")
        }
        return bytes
    }

    private static func escape(_ rest: inout ArraySlice<UInt8>) -> UInt8? {
        switch rest.popFirst() {
        case UInt8(ascii: "\\"): return UInt8(ascii: "\\")
        case UInt8(ascii: "n"): return 10
        case UInt8(ascii: "r"): return 13
        case UInt8(ascii: "t"): return 9
        case UInt8(ascii: "0"): return 0
        case UInt8(ascii: "x"):
            let digits = rest.prefix(2)
            guard digits.count == 2, digits.allSatisfy({ Character(UnicodeScalar($0)).isHexDigit })
            else { return nil }
            rest = rest.dropFirst(2)
            return UInt8(String(decoding: digits, as: UTF8.self), radix: 16)
        default: return nil
        }
    }
}
