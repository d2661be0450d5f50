import Dataplane
import RuleEngine
import Support

/// `rate: { packets-per-second: N, burst: N, per: flow|source|endpoint|all }`.
struct RateKey: MatchKey {
    let rate: Match.Rate

    static let key = Match.Key.rate
    static let help =
        "Packets that exceed a limit of the whole appliance: in any T seconds at most burst + "
        + "packets-per-second x T packets for which all else in this match holds, and that no "
        + "earlier rule has decided, do not exceed it. Counted are packets, each fragment as one, "
        + "whatever their length. Needs all packets of a flow on one worker."
    static let values =
        "packets-per-second and burst, numbers from 1 to \(Match.Rate.highest) (burst: by default "
        + "a tenth of the first, at least 1), and per, \(ConfigField.oneOf(owners.map(\.key))) "
        + "(default: all)"
    static let example = "{ rate: { packets-per-second: 1000, burst: 50, per: source } }"
    static let schema = Schema.object(
        [
            "packets-per-second": Schema.described(
                Schema.integer(numbers), "Packets in a second that do not exceed the limit."),
            "burst": Schema.described(
                Schema.integer(numbers),
                "Packets at once after a pause; by default a tenth of packets-per-second, at "
                    + "least 1."),
            "per": Schema.described(
                Schema.choice(owners.map(\.key), default: "all"),
                "What has a limit of its own: a flow with both its directions, an inner source "
                    + "address behind an endpoint, an endpoint, or nothing."),
        ], required: ["packets-per-second"])

    private static let numbers = 1...Int(Match.Rate.highest)
    private static let owners: KeyValuePairs<String, Match.Rate.Per> = [
        "flow": .flow, "source": .source, "endpoint": .endpoint, "all": .all,
    ]

    static func read(_ field: ConfigField, folder: SetFolder) -> Match.Condition? {
        guard let fields = field.section(["packets-per-second", "burst", "per"]) else { return nil }
        guard let rate = fields["packets-per-second"] else {
            field.missing("expected {packets-per-second: N}", fields)
            return nil
        }
        let packets = rate.integer(numbers)
        let burst = fields["burst"].map { $0.integer(numbers) }
        let per = fields["per"].map { $0.choice(owners) }
        // What was written wrongly is nil inside.
        guard let packets, let burst = burst ?? .some(0), let per = per ?? .all else { return nil }
        return .rate(
            Match.Rate(
                packetsPerSecond: UInt32(packets), burst: burst == 0 ? nil : UInt32(burst),
                per: per))
    }

    var words: String {
        let owner =
            switch rate.per {
            case .flow: " of each flow"
            case .source: " of each source"
            case .endpoint: " of each endpoint"
            case .all: ""
            }
        return "what exceeds \(rate.packetsPerSecond) packets per second\(owner) "
            + "(\(rate.burst) at once)"
    }

    /// It depends on more than the packet.
    func covers(_ other: Match) -> Bool { false }

    func contradiction(in match: Match) -> String? { nil }
}
