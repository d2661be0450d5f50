import Dataplane
import RuleEngine
import Support
import Wire

/// `icmp: { type: 8, code: 0, sequence: { every: 5 } }`.
struct ICMPKey: MatchKey {
    let icmp: Match.ICMP

    static let key = Match.Key.icmp
    static let help = "ICMP of an IPv4 packet, or ICMPv6 of an IPv6 packet."
    static let values =
        "type and code, each a number from 0 to 255 or a list, and sequence: {every: N}, for "
        + "echo messages with a sequence number that is a multiple of N, 1 to 65535"
    static let example = "{ icmp: { type: [8, 128], sequence: { every: 5 } } }"
    static let schema = Schema.object(
        [
            "type": Schema.described(Schema.oneOrList(Schema.reference("byte")), "Message types."),
            "code": Schema.described(Schema.oneOrList(Schema.reference("byte")), "Message codes."),
            "sequence": Schema.object(
                ["every": Schema.described(Schema.integer(1...65_535), "The multiple.")],
                required: ["every"],
                "Echo messages whose sequence number is a multiple of a number."),
        ], least: 1)

    static func read(_ field: ConfigField, folder: SetFolder) -> Match.Condition? {
        guard let fields = field.section(["type", "code", "sequence"]) else { return nil }
        guard !fields.isEmpty else { return field.expected("type, code or sequence") }
        var icmp = Match.ICMP()
        icmp.types = fields["type"].flatMap { readBytes($0) }
        icmp.codes = fields["code"].flatMap { readBytes($0) }
        if let sequence = fields["sequence"], let keys = sequence.section(["every"]) {
            if let every = keys["every"] {
                icmp.sequenceEvery = every.integer(1...65_535).map { UInt16($0) }
            } else {
                sequence.missing("expected {every: N}", keys)
            }
        }
        return .icmp(icmp)
    }

    private static func readBytes(_ field: ConfigField) -> ByteSet? {
        field.all("a number") { $0.integer(0...255).map { UInt8($0) } }.map { ByteSet($0) }
    }

    var words: String {
        var words: [String] = []
        func list(_ set: ByteSet) -> String { Words.any(set.members.map { "\($0)" }) }
        if let types = icmp.types { words.append("ICMP type \(list(types))") }
        if let codes = icmp.codes { words.append("ICMP code \(list(codes))") }
        if let every = icmp.sequenceEvery {
            words.append("an echo sequence number that is a multiple of \(every)")
        }
        return words.joined(separator: ", ")
    }

    func covers(_ other: Match) -> Bool {
        func covers(_ outer: ByteSet?, _ inner: ByteSet?) -> Bool {
            guard let outer else { return true }
            return inner?.isSubset(of: outer) ?? false
        }
        guard let theirs = other.icmp, covers(icmp.types, theirs.types),
            covers(icmp.codes, theirs.codes)
        else { return false }
        guard let every = icmp.sequenceEvery else { return true }
        return theirs.sequenceEvery.map { $0 % every == 0 } ?? false
    }

    func contradiction(in match: Match) -> String? {
        guard icmp.sequenceEvery != nil, let types = icmp.types else { return nil }
        let versions = match.needs.possibleVersions
        let echoes: [UInt8] =
            (versions.contains(4) ? [ICMPHeader.echoReply, ICMPHeader.echoRequest] : [])
            + (versions.contains(6) ? [ICMPHeader.echoRequestV6, ICMPHeader.echoReplyV6] : [])
        return echoes.contains(where: types.contains)
            ? nil : "only echo messages have a sequence number, and its types are others"
    }
}
