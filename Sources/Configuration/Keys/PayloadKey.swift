import Dataplane
import RuleEngine
import Support

/// `payload: { contains: text, ignore-case: true }`.
struct PayloadKey: MatchKey {
    let payload: Match.Payload

    static let key = Match.Key.payload
    static let help =
        "Texts in the payload of UDP or TCP, looked for packet by packet: one that is split over "
        + "TCP segments is not found."
    static let values =
        "contains, a text of 1 to 1024 bytes or a list of them, with the escapes \\xHH, \\n, "
        + "\\r, \\t, \\0 and \\\\; and ignore-case, true for ASCII letters in any case"
    static let example = "{ payload: { contains: ['drop me', '\\x00\\xff'], ignore-case: true } }"
    static let schema = Schema.object(
        [
            "contains": Schema.described(
                Schema.oneOrList(Schema.reference("bytes")), "One of these stands in the payload."),
            "ignore-case": Schema.described(
                Schema.flag(false), "ASCII letters in any case are found."),
        ], required: ["contains"])

    static func read(_ field: ConfigField, folder: SetFolder) -> Match.Condition? {
        guard let fields = field.section(["contains", "ignore-case"]) else { return nil }
        guard let contains = fields["contains"] else {
            field.missing("expected contains: a text or a list of them", fields)
            return nil
        }
        guard let strings = contains.all("a text", { $0.bytes() }) else { return nil }
        return .payload(
            Match.Payload(strings, ignoresCase: fields["ignore-case"]?.flag() ?? false))
    }

    var words: String {
        "payload contains \(Words.any(payload.strings.map { Words.quote($0) }))"
            + (payload.ignoresCase ? " in any case" : "")
    }

    /// Each of the other's strings holds one of ours.
    func covers(_ other: Match) -> Bool {
        guard let theirs = other.payload else { return false }
        if payload == theirs { return true }
        // What is found in any case need not be found in this one.
        guard payload.ignoresCase || !theirs.ignoresCase else { return false }
        func folded(_ string: [UInt8]) -> [UInt8] {
            payload.ignoresCase ? string.map { $0 &- 0x41 < 26 ? $0 | 0x20 : $0 } : string
        }
        let mine = payload.strings.map(folded)
        return Shadows.contains(mine, theirs.strings.map(folded)) { theirs, mine in
            theirs.firstRange(of: mine) != nil
        }
    }

    func contradiction(in match: Match) -> String? { nil }
}
