import Dataplane
import RuleEngine
import Wire

/// Reads one rule of the list `rules`.
struct RuleReader {
    /// Where `@file` is looked up.
    let folder: SetFolder

    private static let actions = ConfigField.oneOf(ActionWord.names)

    /// Nil without a name or an action: what else is wrong has been noted.
    func read(_ field: ConfigField) -> Rule? {
        guard let fields = field.section(RuleKey.allCases.map(\.rawValue)) else { return nil }
        let name = fields["name"].flatMap { readName($0) }
        if fields["name"] == nil { field.missing("a rule needs a name", fields) }
        var rule = Rule(name ?? "")
        if let field = fields["match"] {
            // Most likely a condition that was lost: it would match every packet.
            if field.isNull {
                field.expected("conditions (without match a rule is for every packet)")
            }
            rule.match = readMatch(field)
        }
        rule.description = fields["description"].flatMap { readDescription($0) }
        rule.isDryRun = fields["dry-run"]?.flag() ?? false
        if let action = fields["action"] {
            readActions(action, &rule)
            checkReplacements(action, rule)
        } else {
            field.missing("a rule needs an action: \(RuleReader.actions)", fields)
        }
        return name == nil ? nil : rule
    }

    private func readName(_ field: ConfigField) -> String? {
        guard let name = field.text("a name") else { return nil }
        let isPlain = !name.unicodeScalars.contains(where: \.steersTerminals)
        guard !name.isEmpty, name.utf8.count <= 128, isPlain else {
            return field.expected("a name of 1 to 128 bytes without control characters")
        }
        return name
    }

    /// Lines become one.
    private func readDescription(_ field: ConfigField) -> String? {
        guard let text = field.text("a text") else { return nil }
        let words = text.split { $0.isWhitespace }.joined(separator: " ")
        let isPlain = !words.unicodeScalars.contains(where: \.steersTerminals)
        guard !words.isEmpty, text.utf8.count <= 1024, isPlain else {
            return field.fail("expected a text of 1 to 1024 bytes without control characters")
        }
        return words
    }

    // ---- Actions.

    /// One action or a list; what decides comes last.
    private func readActions(_ field: ConfigField, _ rule: inout Rule) {
        let items = field.items
        if items.isEmpty { field.expected(RuleReader.actions) }
        for item in items {
            if let last = ActionWord.terminal(of: rule) {
                item.fail("nothing can come after \(last.rawValue)")
                return
            }
            guard let mapping = item.node.mapping else {
                readWord(item, &rule)
                continue
            }
            if let word = ActionWord.plain.first(where: { mapping[$0.rawValue] != nil }) {
                item.fail("\(word.rawValue) takes no value: write it alone")
            } else if let list = item.section([ActionWord.replace.rawValue, "capture"]) {
                if let capture = list["capture"] {
                    capture.unsupported("the action capture")
                }
                if let replace = list[ActionWord.replace.rawValue] {
                    rule.replacements += readReplacements(replace)
                }
            }
        }
    }

    private func readWord(_ field: ConfigField, _ rule: inout Rule) {
        if field.plain == "capture" { return field.unsupported("the action capture") }
        guard let word = field.word.flatMap(ActionWord.init) else {
            let near = field.word.flatMap { NearMiss.of($0, in: ActionWord.names) }
            return field.expected(
                RuleReader.actions + (near.map { " (did you mean \($0)?)" } ?? ""))
        }
        guard word.isPlain else { return field.expected("replace: [{find: …, with: …}]") }
        word.apply(to: &rule)
    }

    private func readReplacements(_ field: ConfigField) -> [Replacement] {
        let list = field.list("{find: …, with: …}") ?? []
        if list.isEmpty { field.fail("nothing to replace: expected [{find: …, with: …}]") }
        return list.compactMap { item in
            guard let fields = item.section(["find", "with"]) else { return nil }
            guard let find = fields["find"], let with = fields["with"] else {
                item.missing("expected both find and with", fields)
                return nil
            }
            guard let old = find.bytes(), let new = with.bytes(mayBeEmpty: true) else { return nil }
            return Replacement(find: old, with: new)
        }
    }

    /// A payload can grow or shrink only where nobody counts its bytes: not in TCP.
    private func checkReplacements(_ field: ConfigField, _ rule: Rule) {
        guard !rule.replacements.isEmpty else { return }
        let protocols = rule.match.needs.protocols
        if RuleReader.asksForFragments(rule.match) {
            field.fail("fragments are never rewritten: this replace has no effect")
        }
        if !protocols.contains(IPProtocol.udp), !protocols.contains(IPProtocol.tcp) {
            field.fail("only UDP and TCP payloads are rewritten: this replace has no effect")
        }
        if protocols.contains(IPProtocol.tcp),
            rule.replacements.contains(where: { $0.find.count != $0.with.count })
        {
            field.fail(
                "a replace that changes the length applies to UDP only: "
                    + "say match: {protocol: udp}, or make find and with equally long")
        }
    }

    /// No whole packet meets it.
    private static func asksForFragments(_ match: Match) -> Bool {
        let wantsWhole = match.fragment.map { $0 == .none } ?? true
        let refusesWhole = match.not?.fragment.map { $0 == .none } ?? false
        return !wantsWhole || refusesWhole
    }

    // ---- Conditions.

    private func readMatch(_ field: ConfigField) -> Match {
        guard let fields = field.section(MatchKeys.names) else { return Match() }
        let match = MatchKeys.read(fields, folder: folder)
        checkSense(field, match)
        return match
    }

    /// Conditions that no packet can meet together.
    private func checkSense(_ field: ConfigField, _ match: Match) {
        var complaints: [String] = []
        func complain(_ text: String) {
            if !complaints.contains(text) { complaints.append(text) }
        }
        for condition in match.conditions where condition.key != .not {
            let needs = condition.needs
            if let protocols = match.protocols, condition.key != .protocols,
                needs.protocols.intersection(protocols).isEmpty
            {
                complain(
                    "\(RuleReader.subject(condition.key)) is a matter of "
                        + ProtocolNames.list(needs.protocols))
            }
            if match.fragment == .later, needs.transport > 0 {
                complain("later fragments have no ports, flags or payload to read")
            }
            if let version = match.version, condition.key != .version,
                !needs.versions.contains(version)
            {
                complain("no address of IP version \(version) in it")
            }
        }
        for text in complaints { field.fail("can never match: \(text)") }
    }

    /// All keys of ports read the same numbers.
    private static func subject(_ key: Match.Key) -> String {
        [.sourcePorts, .destinationPorts, .ports].contains(key) ? "a port" : key.rawValue
    }
}
