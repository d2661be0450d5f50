import Dataplane
import RuleEngine
import Support

/// `ttl: 1`, a range such as 1-5, or a list.
struct TTLKey: MatchKey {
    let ttl: ByteSet

    static let key = Match.Key.ttl
    static let help =
        "The TTL of an inner IPv4 packet, or the hop limit of an IPv6 packet; of every fragment its "
        + "own."
    static let values = "a number from 0 to 255, a range such as 1-5, or a list"
    static let example = "{ ttl: [0-4, 255] }"
    static let schema = Schema.ranges(0...255)

    static func read(_ field: ConfigField, folder: SetFolder) -> Match.Condition? {
        field.ranges("a ttl", 0...255, such: "1-5").map { .ttl(ByteSet(ranges: $0)) }
    }

    var words: String { "TTL \(Words.numbers(ttl.ranges))" }

    func covers(_ other: Match) -> Bool { other.ttl?.isSubset(of: ttl) ?? false }

    func contradiction(in match: Match) -> String? { nil }
}
