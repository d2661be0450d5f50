import Dataplane
import RuleEngine

/// The reference of the section `policy`, made of what reads it.
enum PolicyReference {
    static var markdown: String {
        var lines = [
            "# The section `policy`",
            "",
            "Rules stand in order, and the first that forwards or drops a packet decides it. A rule",
            "matches the inner packet as it came. This page is made by the program's tests of what",
            "reads the file: `UPDATE_REFERENCE=1 swift test --filter ReferenceTests` makes it anew.",
            "",
            "```yaml",
            "policy:",
            "  default: forward",
            "  rules:",
            "    - name: no-telnet",
            "      match: { protocol: tcp, destination-port: 23 }",
            "      action: drop",
            "```",
            "",
            "## Keys of `policy`",
        ]
        for key in PolicyKey.allCases {
            lines += section("`\(key.rawValue)`", key.help)
            if let words = key.words {
                lines += ["", "Values: \(ConfigField.oneOf(words)). Default: \(words[0])."]
            }
        }
        lines += ["", "## Keys of a rule"]
        for key in RuleKey.allCases { lines += section("`\(key.rawValue)`", key.help) }
        lines += [
            "", "## Actions", "",
            "A rule without `forward` or `drop` leaves the packet to the rules behind it.",
        ]
        for word in ActionWord.allCases {
            lines += section("`\(word.rawValue)`", word.help)
            lines += ["", "Example: `action: \(word.example)`"]
        }
        lines += [
            "", "## Keys of `match`", "",
            "All conditions must hold; of a list, one item must. Everything is about the inner packet.",
        ]
        for type in MatchKeys.all {
            lines += section("`\(type.key.rawValue)`", type.help)
            lines += ["", "Values: \(type.values).", "", "Example: `match: \(type.example)`"]
        }
        return lines.joined(separator: "\n") + "\n"
    }

    private static func section(_ title: String, _ text: String) -> [String] {
        ["", "### \(title)", "", text]
    }
}
