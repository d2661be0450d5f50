import Dataplane
import RuleEngine
import Support

/// Packets by verdict, by rule and by reason.
struct ExplainSummary {
    struct RuleCount: Encodable {
        var rule: String
        var matched = 0
        var forwarded = 0
        var dropped = 0
        var rewritten = 0
    }

    private(set) var judged = 0
    private(set) var forwarded = 0
    private(set) var rewritten = 0
    /// By reason.
    private(set) var dropped: [String: Int] = [:]
    private(set) var notJudged: [String: Int] = [:]
    /// Packets that the host merged, as no gateway sends them.
    private(set) var longerThanMTU = 0
    private let mtu: Int
    private var rules: [RuleCount]
    private let index: [String: Int]

    init(rules: [String], mtu: Int) {
        self.mtu = mtu
        self.rules = rules.map { RuleCount(rule: $0) }
        index = Dictionary(rules.enumerated().map { ($1, $0) }) { first, _ in first }
    }

    mutating func count(_ packet: ExplainedPacket) {
        guard packet.verdict != "none" else {
            notJudged[packet.reason ?? "", default: 0] += 1
            return
        }
        judged += 1
        if packet.length > mtu { longerThanMTU += 1 }
        if let reason = packet.reason {
            dropped[reason, default: 0] += 1
        } else {
            forwarded += 1
        }
        if packet.rewritten != nil { rewritten += 1 }
        for match in packet.matched {
            guard let rule = index[match.rule] else { continue }
            rules[rule].matched += 1
            if packet.verdict == "drop" {
                rules[rule].dropped += 1
            } else {
                rules[rule].forwarded += 1
            }
            if packet.rewritten != nil { rules[rule].rewritten += 1 }
        }
    }

    // ---- As lines.

    private struct Lines: Encodable {
        struct Summary: Encodable {
            var judged: Int
            var forwarded: Int
            var rewritten: Int
            var dropped: [String: Int]
            var notJudged: [String: Int]
            var longerThanMtu: Int?
            var rules: [RuleCount]
        }
        var summary: Summary
    }

    var json: String {
        JSONText.line(
            Lines(
                summary: .init(
                    judged: judged, forwarded: forwarded, rewritten: rewritten, dropped: dropped,
                    notJudged: notJudged,
                    longerThanMtu: longerThanMTU > 0 ? longerThanMTU : nil, rules: rules)))
    }

    var text: [String] {
        func list(_ counts: [String: Int], by separator: String = ", ") -> String {
            counts.sorted { ($1.value, $0.key) < ($0.value, $1.key) }
                .map { "\($0.value) \($0.key)" }.joined(separator: separator)
        }
        let drops = dropped.values.reduce(0, +)
        var lines = [
            "",
            "\(judged) \(judged == 1 ? "packet" : "packets") judged: \(forwarded) forwarded "
                + "(\(rewritten) rewritten), \(drops) dropped"
                + (drops > 0 ? " (\(list(dropped)))" : ""),
        ]
        if !notJudged.isEmpty {
            lines.append("not judged: \(list(notJudged, by: "; "))")
        }
        if longerThanMTU > 0 {
            lines.append(
                "longer than mtu, \(mtu) bytes: \(longerThanMTU): the host that captured merged them "
                    + "(GRO or TSO), and each was judged as one")
        }
        for rule in rules where rule.matched > 0 {
            lines.append(
                "rule \(rule.rule): matched \(rule.matched): \(rule.forwarded) forwarded, "
                    + "\(rule.dropped) dropped")
        }
        let silent = rules.filter { $0.matched == 0 }.map(\.rule)
        if !silent.isEmpty {
            let more = silent.count > 20 ? " and \(silent.count - 20) more" : ""
            lines.append("matched nothing: \(silent.prefix(20).joined(separator: ", "))\(more)")
        }
        return lines
    }
}
