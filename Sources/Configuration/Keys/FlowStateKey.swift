import Dataplane
import RuleEngine
import Support

/// `flow: new`, `established`, `related`, a list of them, or `any`.
struct FlowStateKey: MatchKey {
    let flow: Match.Flow

    static let key = Match.Key.flow
    static let help =
        "What the packet is to its flow. established: a packet of the flow was forwarded in the other "
        + "direction before; of ICMP only replies. related: an ICMP error that quotes a forwarded "
        + "packet of a live flow, as path MTU discovery needs it. new: neither. A fragment is "
        + "established only with steer: addresses. Needs all packets of a flow on one worker."
    static let values = "\(ConfigField.oneOf(choices.map(\.key))), or a list"
    static let example = "{ flow: [established, related] }"
    static let schema = Schema.oneOrList(Schema.choice(choices.map(\.key)))

    private static let choices: KeyValuePairs<String, Match.Flow> = [
        "new": .new, "established": .established, "related": .related, "any": .all,
    ]

    static func read(_ field: ConfigField, folder: SetFolder) -> Match.Condition? {
        // Any asks nothing.
        states(field).flatMap { $0 == .all ? nil : .flow($0) }
    }

    /// Nil after an error.
    static func states(_ field: ConfigField) -> Match.Flow? {
        field.all("a state of a flow") { $0.choice(choices) }.map { Match.Flow($0) }
    }

    var words: String {
        let told: [(Match.Flow, String)] = [
            (.new, "a flow that was not forwarded in the other direction yet"),
            (.established, "a flow that was forwarded in the other direction"),
            (.related, "an ICMP error about a live flow"),
        ]
        return told.filter { flow.contains($0.0) }.map(\.1).joined(separator: ", or ")
    }

    func covers(_ other: Match) -> Bool { other.flow.map(flow.isSuperset) ?? false }

    func contradiction(in match: Match) -> String? { nil }
}
