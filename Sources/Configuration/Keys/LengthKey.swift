import Dataplane
import RuleEngine
import Support

/// `length: 20-100`, a number, or a list.
struct LengthKey: MatchKey {
    let ranges: [ClosedRange<UInt16>]

    static let key = Match.Key.lengths
    static let help = "The length of the inner IP packet with its header, bytes."
    static let values = "a number from 20 to 65535, a range such as 1000-2000, or a list"
    static let example = "{ length: 1400-65535 }"
    static let schema = Schema.reference("lengths")

    static func read(_ field: ConfigField, folder: SetFolder) -> Match.Condition? {
        field.ranges("a length", 20...UInt16.max, such: "1000-2000").map { .lengths($0) }
    }

    var words: String { "length \(Words.numbers(ranges))" }

    func covers(_ other: Match) -> Bool { Shadows.contains(ranges, other.lengths) }

    func contradiction(in match: Match) -> String? {
        let shortest = match.needs.shortest
        return ranges.allSatisfy { Int($0.upperBound) < shortest }
            ? "a packet that has all this is at least \(shortest) bytes long" : nil
    }
}
