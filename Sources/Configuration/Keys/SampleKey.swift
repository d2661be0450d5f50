import Dataplane
import RuleEngine
import Support

/// `sample: { every: 100 }`.
struct SampleKey: MatchKey {
    let every: UInt32

    static let key = Match.Key.sample
    static let help =
        "The first packet of a flow and every N-th after it; both directions count. Needs all "
        + "packets of a flow on one worker."
    static let values = "{every: N}, N from 1 to 1000000000"
    static let example = "{ sample: { every: 1000 } }"
    static let schema = Schema.object(
        ["every": Schema.described(Schema.integer(1...1_000_000_000), "One packet of this many.")],
        required: ["every"])

    static func read(_ field: ConfigField, folder: SetFolder) -> Match.Condition? {
        guard let fields = field.section(["every"]) else { return nil }
        guard let every = fields["every"] else {
            field.missing("expected {every: N}", fields)
            return nil
        }
        return every.integer(1...1_000_000_000).map { .sample(UInt32($0)) }
    }

    var words: String { "the first packet of a flow, then one of every \(every)" }

    /// It depends on more than the packet.
    func covers(_ other: Match) -> Bool { false }

    func contradiction(in match: Match) -> String? { nil }
}
