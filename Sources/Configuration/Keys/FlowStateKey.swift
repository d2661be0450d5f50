import Dataplane
import RuleEngine
import Support

/// `flow: new`, `established` or `any`.
struct FlowStateKey: MatchKey {
    let flow: Match.Flow

    static let key = Match.Key.flow
    static let help =
        "Whether a packet of the same flow was forwarded in the other direction before: "
        + "established; new: none yet. Needs all packets of a flow on one worker."
    static let values = ConfigField.oneOf(choices.map(\.key))
    static let example = "{ flow: established }"
    static let schema = Schema.choice(choices.map(\.key))

    private static let choices: KeyValuePairs<String, Match.Flow?> = [
        "new": .new, "established": .established, "any": nil,
    ]

    static func read(_ field: ConfigField, folder: String) -> Match.Condition? {
        field.choice(choices).flatMap { $0 }.map { .flow($0) }
    }

    var words: String {
        switch flow {
        case .established: "a flow that was forwarded in the other direction"
        case .new: "a flow that was not forwarded in the other direction yet"
        }
    }

    func covers(_ other: Match) -> Bool { other.flow == flow }

    func contradiction(in match: Match) -> String? { nil }
}
