import Dataplane
import RuleEngine
import Support

/// `dscp: ef`, a number, a range such as 8-15, or a list.
struct DSCPKey: MatchKey {
    let dscp: ByteSet

    static let key = Match.Key.dscp
    static let help =
        "The differentiated services code point of the inner packet: the upper six bits of the "
        + "IPv4 TOS or the IPv6 traffic class (RFC 2474); of every fragment its own."
    static let values =
        "ef, cs0 to cs7, af11 to af43, a number from 0 to 63, a range such as 8-15, or a list"
    static let example = "{ dscp: [ef, af41, 8-15] }"
    static let schema = Schema.oneOrList(
        Schema.either([
            Schema.choice(names.map(\.name)), Schema.integer(0...63),
            ["type": "string", "pattern": "^[0-9]{1,2}(-[0-9]{1,2})?$"],
        ]))

    /// RFC 2474 §4.2.2 (cs), RFC 2597 §6 (af), RFC 3246 §2.7 (ef).
    private static let names: [(name: String, number: UInt16)] =
        [("ef", 46)] + (0...7).map { ("cs\($0)", $0 * 8) }
        + (1...4).flatMap { line in (1...3).map { ("af\(line)\($0)", line * 8 + $0 * 2) } }

    static func read(_ field: ConfigField, folder: SetFolder) -> Match.Condition? {
        let ranges = field.all("a code point") { item -> ClosedRange<UInt16>? in
            let named = names.first { $0.name == item.word }
            if let range = named.map({ $0.number...$0.number }) ?? item.range(in: 0...63) {
                return range
            }
            let near = item.word.flatMap { NearMiss.of($0, in: names.map(\.name)) }
            return item.fail(
                "expected a name such as ef, cs1 or af41, a number from 0 to 63, or a range such as "
                    + "8-15\(near.map { " (did you mean \($0)?)" } ?? ""), found \(item.found)"
                    + item.reversal)
        }
        return ranges.map { .dscp(ByteSet(ranges: $0)) }
    }

    var words: String {
        let list = dscp.ranges.map { range in
            DSCPKey.names.first { $0.number...$0.number == range }?.name ?? Words.numbers([range])
        }
        return "DSCP \(Words.any(list))"
    }

    func covers(_ other: Match) -> Bool { other.dscp?.isSubset(of: dscp) ?? false }

    func contradiction(in match: Match) -> String? { nil }
}
