/// Pages that tell of all settings.
package enum SettingsReference {
    /// docs/settings.md.
    package static var markdown: String {
        var lines = [
            "# Settings", "",
            "Made from the table in `Sources/Configuration/Settings/Settings.swift`:",
            "`UPDATE_REFERENCE=1 swift test --filter ReferenceTests` makes it anew.",
            "",
            "Flags beat variables, which beat the config file, which beats the defaults. All three read the same values",
            "and give the same complaints. A time is a number with ms, s, m or h; without a unit it means seconds. Where",
            "several values have commas between them, the file may have a list. A `SLUICE_` variable that is not in this",
            "list is an error, like an unknown key. The rules are in the file alone.", "",
            "L: `sluice reload` takes a new value over. R: it needs a restart; a reload that changes it is refused.",
        ]
        for top in Settings.keys(in: "") {
            let rows = Settings.all.filter { $0.key == top || $0.key?.hasPrefix("\(top).") == true }
            let about = Settings.sections.first { $0.key == top }?.value
            lines += ["", "## \(top)", ""] + (about.map { [$0, ""] } ?? []) + table(rows)
        }
        lines += ["", "## Not of the file", ""] + table(Settings.all.filter { $0.key == nil })
        return lines.joined(separator: "\n") + "\n"
    }

    private static func table(_ rows: [Setting]) -> [String] {
        [
            "| key | flag | variable | values | default | | meaning |",
            "|---|---|---|---|---|---|---|",
        ]
            + rows.map { row in
                let placeholder = row.placeholder.map { " \($0.uppercased())" } ?? ""
                let cells = [
                    code(row.key), code(row.flag.map { $0 + placeholder }), code(row.variable),
                    row.values, row.reference, row.effect.rawValue,
                    row.sentences,
                ]
                return "| \(cells.joined(separator: " | ")) |"
            }
    }

    private static func code(_ text: String?) -> String { text.map { "`\($0)`" } ?? "" }

    // ---- The example that has every key.

    /// deploy/examples/sluice.yaml. - Parameter policy: its lines of the section `policy`.
    package static func example(policy: [String]) -> String {
        var lines = [
            "# yaml-language-server: $schema=../schema/sluice.schema.json",
            "# Every key with its default. L = sluice reload takes it over, R = needs a restart.",
        ]
        for key in Settings.keys(in: "") {
            lines += key == "policy" ? policy : example(of: key, indent: "")
        }
        return (lines + ["processor: {}"]).joined(separator: "\n") + "\n"
    }

    private static let longestLine = 80

    /// A section in one line if that is short, and its settings have the same letter.
    private static func example(of path: String, indent: String) -> [String] {
        let word = path.split(separator: ".").last ?? ""
        if let setting = Settings.of(key: path) {
            // Saying it would be more than its default.
            let start = setting.unsaid == nil ? indent : "# "
            return [
                marked("\(start)\(word): \(scalar(setting.standard))", setting.effect, setting.help)
            ]
        }
        let below = Settings.keys(in: path).map { "\(path).\($0)" }
        let settings = below.compactMap { Settings.of(key: $0) }
        let pairs = settings.map { setting in
            "\(setting.key?.split(separator: ".").last ?? ""): \(scalar(setting.standard))"
        }
        let line = "\(indent)\(word): { \(pairs.joined(separator: ", ")) }"
        guard settings.count == below.count, Set(settings.map(\.effect)).count == 1,
            line.count <= longestLine
        else {
            return ["\(indent)\(word):"] + below.flatMap { example(of: $0, indent: indent + "  ") }
        }
        let about = Settings.sections.first { $0.key == path }?.value ?? ""
        return [marked(line, settings[0].effect, about)]
    }

    private static func marked(_ text: String, _ effect: Setting.Effect, _ about: String) -> String
    {
        let padding = String(repeating: " ", count: max(0, 30 - text.count))
        return "\(text)\(padding) # \(effect.rawValue)  \(about)"
    }

    /// Readers of YAML 1.1 take some numbers with colons for one number.
    private static func scalar(_ text: String) -> String {
        text.contains(":") ? "\"\(text)\"" : text
    }
}

extension Setting {
    /// What people are told of it where there is room.
    var sentences: String { details.isEmpty ? help : "\(help) \(details)" }

    /// What holds if nobody gives it, for a page.
    fileprivate var reference: String {
        key == nil ? unsaid ?? "" : "`\(standard)`" + (unsaid.map { ", \($0)" } ?? "")
    }

    /// For `--help`.
    package var flagHelp: String {
        guard placeholder != nil else { return help }
        let remark =
            key == nil ? unsaid.map { "default: \($0)" } : "\(values); default: \(standard)"
        return "\(help.dropLast())\(remark.map { " (\($0))" } ?? "")."
    }
}
