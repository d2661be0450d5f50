import Yams

/// The text of a config file as YAML, and what is said where it is none.
enum YAMLText {
    /// Nil for a file that says nothing.
    static func compose(_ text: String, _ path: String) throws(ConfigErrors) -> Node? {
        if let line = bombLine(text) {
            throw ConfigErrors([
                "\(path):\(line): a key that is a list or mapping, and many aliases: keys are words"
            ])
        }
        do {
            return try Yams.compose(yaml: text)
        } catch let error as YamlError {
            throw ConfigErrors([describe(error, text, path)])
        } catch {
            throw ConfigErrors(["\(path): \(error)"])
        }
    }

    /// Yams compares keys in full: one of aliases of aliases would keep it busy for ever. Where such
    /// a key may begin; nil in files with few aliases, where it ends soon.
    private static func bombLine(_ text: String) -> Int? {
        let mostAliases = 40
        guard text.utf8.contains(UInt8(ascii: "*")) else { return nil }
        var aliases = 0
        var line = 1
        var firstKey: Int?
        // The last byte that is no blank, whether one stood before it, and whether one came since.
        var last: UInt8 = 10
        var beganWord = false
        var isApart = true
        var isAlias = false
        var isComment = false
        for byte in text.utf8 {
            if byte == 10 { (line, isComment) = (line + 1, false) }
            guard !isComment else { continue }
            switch byte {
            case 10, 13, 32, 9:
                // "? key"
                if last == UInt8(ascii: "?"), beganWord { firstKey = firstKey ?? line }
                isApart = true
                continue
            case UInt8(ascii: "#") where isApart:
                isComment = true
                continue
            case UInt8(ascii: "*") where isApart || [91, 44, 123].contains(last):
                aliases += 1
                isAlias = true
            case UInt8(ascii: ":"):
                // "[…]: ", "{…}: " and "*alias : "
                if last == UInt8(ascii: "]") || last == UInt8(ascii: "}") || isAlias && isApart {
                    firstKey = firstKey ?? line
                }
                isAlias = false
            default:
                if isApart { isAlias = false }
            }
            last = byte
            beganWord = isApart
            isApart = false
        }
        return aliases > mostAliases ? firstKey : nil
    }

    private static func describe(_ error: YamlError, _ text: String, _ path: String) -> String {
        switch error {
        case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
            .composer(_, let problem, let mark, _):
            return "\(path):\(mark.line): not YAML: \(plain(problem, mark, text))"
        case .reader(let problem, let offset, _, _):
            let before = text.prefix(offset ?? 0)
            let line = 1 + before.count { $0 == "\n" || $0 == "\r\n" }
            return "\(path):\(line): not YAML: \(problem)"
        case .duplicatedKeysInMapping(let keys, let context):
            let key = keys.first ?? "?"
            let first = context.mark.line
            let again = lineOfKey(key, in: text, after: first) ?? first
            return "\(path):\(again): duplicate key '\(key)', first in line \(first)"
        default:
            let line = "\(error)".split(separator: "\n").joined(separator: " ")
            return "\(path): not YAML: \(line)"
        }
    }

    /// The library's words, with what to do about the usual mistakes.
    private static func plain(_ problem: String, _ mark: Mark, _ text: String) -> String {
        if problem.contains("another document") { return "expected one document, found another" }
        if problem.contains("nesting level") { return "nested too deeply" }
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        guard lines.indices.contains(mark.line - 1) else { return problem }
        let rest = lines[mark.line - 1].dropFirst(max(0, mark.column - 1))
        switch rest.first {
        case "\t": return "\(problem): a tab: indent by spaces"
        case _ where lines[mark.line - 1].contains("::") && !problem.contains("alphabetic"):
            return "\(problem): within { } and [ ] an address such as ::1 needs quotes, '::1'"
        case "@", "`", "%": return "\(problem): put text that begins with \(rest.first!) in quotes"
        default:
            return problem.contains("alphabetic or numeric")
                ? "\(problem): put text that begins with * or & in quotes" : problem
        }
    }

    private static func lineOfKey(_ key: String, in text: String, after line: Int) -> Int? {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        return lines.indices.dropFirst(line).first { index in
            let words = lines[index].drop { " -{".contains($0) }
            return words.hasPrefix("\(key):") || words.hasPrefix("\"\(key)\":")
        }.map { $0 + 1 }
    }
}
