import Support
import Yams

/// A value in the file with the keys that lead to it. Readers give nil after noting what was
/// found and what was expected.
struct ConfigField {
    let node: Node
    /// Such as `policy.rules[0].match.port`.
    let name: String
    let problems: Problems
    /// The text of a flag or variable, or a part of a text: any text, a number as well, and never
    /// nothing.
    private(set) var isWord = false

    init(node: Node, name: String, problems: Problems) {
        self.node = node
        self.name = name
        self.problems = problems
    }

    /// What a flag or variable of this name says.
    init(word: String, name: String, problems: Problems) {
        self.init(node: .scalar(Node.Scalar(word)), name: name, problems: problems)
        isWord = true
    }

    var line: Int { node.mark?.line ?? 1 }

    // ---- Complaints.

    /// Notes what is wrong.
    func fail(_ text: String) {
        problems.note(line: line, name.isEmpty ? text : "\(name): \(text)")
    }

    /// Notes what is wrong in another file, which the text names, and who named that one.
    func failElsewhere(_ text: String) {
        problems.note(elsewhere: "\(text) (\(problems.place(line: line))\(name))")
    }

    func expected(_ what: String) { fail("expected \(what), found \(found)") }

    /// Something that the file may say one day, but this version does not do.
    func unsupported(_ what: String) { fail("\(what) is not supported by this version") }

    // The same in place of a value: nil.

    func fail<T>(_ text: String) -> T? {
        fail(text) as Void
        return nil
    }

    func expected<T>(_ what: String) -> T? {
        expected(what) as Void
        return nil
    }

    var found: String {
        switch node {
        case .mapping: return "keys and values"
        case .sequence: return "a list"
        case .alias: return "an alias"
        case .scalar(let scalar):
            if isNull { return "nothing" }
            let text = scalar.string.count > 60 ? scalar.string.prefix(60) + "…" : scalar.string
            return isQuoted ? "the text '\(text)'" : "'\(text)'"
        }
    }

    // ---- Structure.

    /// The values of a mapping by key; keys that are not in `keys` are noted. Nothing at all
    /// counts as a mapping without keys.
    func section(_ keys: [String]) -> [String: ConfigField]? {
        if isNull { return [:] }
        guard let mapping = node.mapping else {
            return expected("keys and values (\(keys.joined(separator: ", ")))")
        }
        var fields: [String: ConfigField] = [:]
        for (key, value) in mapping {
            let word = key.string ?? "?"
            guard keys.contains(word) else {
                noteUnknown(word, at: key, keys)
                continue
            }
            fields[word] = ConfigField(
                node: value, name: name.isEmpty ? word : "\(name).\(word)", problems: problems)
        }
        return fields
    }

    /// Notes that a key is missing, unless an unknown one has been noted: it may be this one
    /// misspelt.
    func missing(_ text: String, _ fields: [String: ConfigField]) {
        if fields.count == node.mapping?.count ?? 0 { fail(text) }
    }

    /// The keys of a mapping that are not known beforehand.
    func entries() -> [(key: ConfigField, value: ConfigField)]? {
        if isNull { return [] }
        guard let mapping = node.mapping else { return expected("keys and values") }
        return mapping.map { key, value in
            let name = "\(name).\(key.string ?? "?")"
            return (
                ConfigField(node: key, name: name, problems: problems),
                ConfigField(node: value, name: name, problems: problems)
            )
        }
    }

    private func noteUnknown(_ word: String, at key: Node, _ keys: [String]) {
        let near = NearMiss.of(word, in: keys)
        let hint =
            word == "<<"
            ? "YAML's merge is not read: write the keys out"
            : near.map { "did you mean \($0)?" }
                ?? "expected one of \(keys.joined(separator: ", "))"
        problems.note(
            line: key.mark?.line ?? line,
            "\(name.isEmpty ? "" : "\(name): ")unknown key '\(word)': \(hint)")
    }

    /// The items of a list; a single value counts as a list of one.
    var items: [ConfigField] {
        guard let sequence = node.sequence else { return [self] }
        return sequence.enumerated().map { index, item in
            ConfigField(node: item, name: "\(name)[\(index)]", problems: problems)
        }
    }

    /// The items of a list, which it must be.
    func list(_ what: String) -> [ConfigField]? {
        if isNull { return [] }
        return node.sequence == nil ? expected("a list of \(what)") : items
    }

    /// The items of a list, or of a text with commas between them.
    private var itemsBetweenCommas: [ConfigField] {
        guard let scalar = node.scalar, scalar.string.contains(",") else { return items }
        return scalar.string.split(separator: ",", omittingEmptySubsequences: false).map { text in
            var part = scalar
            part.string = String(text)
            var field = ConfigField(node: .scalar(part), name: name, problems: problems)
            field.isWord = true
            return field
        }
    }

    /// Reads every item of a list, or the one value; nil when one is wrong or there is none.
    ///
    /// - Parameter atCommas: a text with commas is a list too.
    func all<T>(
        _ what: String, atCommas: Bool = false, _ read: (ConfigField) -> T?
    ) -> [T]? {
        let items = atCommas ? itemsBetweenCommas : items
        guard !items.isEmpty else { return expected("\(what), or a list of them with an item") }
        let values = items.map { read($0) }
        return values.contains { $0 == nil } ? nil : values.compactMap { $0 }
    }

    // ---- Scalars.

    /// Written in quotes or as a block: text, whatever it looks like.
    private var isQuoted: Bool {
        guard let scalar = node.scalar else { return false }
        return scalar.style != .plain && scalar.style != .any
    }

    var isNull: Bool {
        guard let scalar = node.scalar, !isQuoted, !isWord else { return false }
        return ["", "~", "null", "Null", "NULL"].contains(scalar.string)
    }

    /// A word or number as it stands in the file, without quotes around it; nil for others.
    var plain: String? {
        guard let scalar = node.scalar, !isQuoted, !isNull else { return nil }
        return scalar.string
    }

    /// A name, quoted or not; a number only without quotes.
    var word: String? {
        guard let scalar = node.scalar, isQuoted, Double(scalar.string) == nil else { return plain }
        return scalar.string
    }

    /// Exactly this word, quoted or not.
    func says(_ word: String) -> Bool { !isNull && node.scalar?.string == word }

    /// Text, quoted or not; in a file, numbers and true or false need quotes to be text.
    func text(_ what: String) -> String? {
        guard let scalar = node.scalar, !isNull else { return expected(what) }
        if !isWord, !isQuoted, Double(scalar.string) != nil || Bool(scalar.string) != nil {
            return expected("\(what) (in quotes if it is meant as text)")
        }
        return scalar.string
    }

    /// Text that must be one of these.
    func choice<T>(_ values: KeyValuePairs<String, T>) -> T? {
        choice(among: values.map { ($0.key, $0.value) })
    }

    func choice<T>(among values: [(key: String, value: T)]) -> T? {
        let word = node.scalar.flatMap { isNull ? nil : $0.string }
        if let word, let value = values.first(where: { $0.key == word }) { return value.value }
        let names = values.map(\.key)
        let near = word.flatMap { NearMiss.of($0, in: names) }
        let hint = near.map { ": did you mean \($0)?" } ?? ""
        return fail("expected \(ConfigField.oneOf(names)), found \(found)\(hint)")
    }

    static func oneOf(_ names: [String]) -> String {
        guard let last = names.last, names.count > 1 else { return names.first ?? "nothing" }
        return names.dropLast().joined(separator: ", ") + " or " + last
    }

    func flag() -> Bool? {
        switch plain {
        case "true": true
        case "false": false
        default: expected("true or false")
        }
    }

    func integer(_ range: ClosedRange<Int>, _ what: String = "a number") -> Int? {
        guard let value = plain.flatMap({ ConfigField.number($0) }), range.contains(value) else {
            return expected("\(what) from \(range.lowerBound) to \(range.upperBound)")
        }
        return value
    }

    /// Digits alone. No zero in front, which some readers of YAML take for octal.
    static func number(_ text: some StringProtocol) -> Int? {
        let isPlain = text.utf8.allSatisfy { $0 &- 48 < 10 }
        return isPlain && (text.count == 1 || text.first != "0") ? Int(text) : nil
    }

    func duration(atLeast shortest: Duration = .zero) -> Duration? {
        let text = node.scalar.flatMap { isNull ? nil : $0.string }
        guard let value = text.flatMap({ Duration(text: $0) }), value >= shortest else {
            return expected(ConfigField.durations(atLeast: shortest))
        }
        return value
    }

    static func durations(atLeast shortest: Duration) -> String {
        "a time such as 30s, 500ms or 5m, at most a day"
            + (shortest > .zero ? ", at least \(shortest.nanoseconds / 1_000_000) ms" : "")
    }
}
