import Dataplane
import RuleEngine
import Support

/// `not: { port: 22, source: 10.0.0.0/8 }`.
struct NotKey: MatchKey {
    let refused: Match

    static let key = Match.Key.not
    static let help =
        "The same keys, none of which may hold: a packet that meets any of them does not match. "
        + "A packet without ports, flags or ICMP meets no condition on them."
    static let values =
        "keys and values of match, but not \(others.map(\.rawValue).joined(separator: ", "))"
    static let example = "{ protocol: tcp, not: { destination-port: [80, 443], ttl: 0-1 } }"
    static var schema: JSONValue {
        let keys = Match.Key.allCases.filter { !others.contains($0) }.map(\.type)
        return Schema.object(
            Dictionary(
                uniqueKeysWithValues: keys.map {
                    ($0.key.rawValue, Schema.described($0.schema, $0.help))
                }), least: 1)
    }

    private static var others: [Match.Key] { Match.Key.refusedInNot }

    static func read(_ field: ConfigField, folder: SetFolder) -> Match.Condition? {
        guard let fields = field.section(MatchKeys.names) else { return nil }
        guard !fields.isEmpty else {
            field.missing("expected keys of match, such as {port: 22}, found none", fields)
            return nil
        }
        for key in others {
            fields[key.rawValue]?.fail("cannot stand in not: write a rule of its own before this")
        }
        var known = fields.filter { name, _ in !others.contains { $0.rawValue == name } }
        let flow = known.removeValue(forKey: "flow")
        var refused = MatchKeys.read(known, folder: folder)
        if let flow, let states = FlowStateKey.states(flow) {
            guard states != .all else {
                return flow.fail(
                    "any holds always, so nothing would match: expected new, established or related"
                )
            }
            refused.flow = states
        }
        return .not(refused)
    }

    var words: String { "none of (\(refused.words.joined(separator: "; ")))" }

    /// What the other refuses holds wherever ours does.
    func covers(_ other: Match) -> Bool {
        refused.conditions.allSatisfy { mine in
            other.not?.conditions.contains { $0.written.covers(Match([mine])) } ?? false
        }
    }

    /// Whatever meets the rest of the match meets one of the conditions that none may meet.
    func contradiction(in match: Match) -> String? {
        refused.conditions.first { $0.written.covers(match) }
            .map { "not refuses every packet that the rest asks for, by \($0.key.rawValue)" }
    }
}
