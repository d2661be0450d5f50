import Dataplane
import RuleEngine
import Wire

/// What a reader of a valid policy should know about its rules.
package enum Advice {
    /// - Parameter mtu: the largest inner packet sent after a rewrite.
    package static func of(_ set: PolicySet, mtu: Int) -> [String] {
        set.rules.flatMap { rule in
            [splitText(rule)].compactMap { $0 } + replacements(of: rule, mtu: mtu)
        }
    }

    private static func splitText(_ rule: Rule) -> String? {
        let asksPayload = rule.match.payload != nil || !rule.replacements.isEmpty
        guard asksPayload, rule.match.needs.protocols.contains(IPProtocol.tcp) else {
            return nil
        }
        return "rule \(rule.name): payload is matched packet by packet: a text that is split "
            + "over TCP segments is not found"
    }

    private static func replacements(of rule: Rule, mtu: Int) -> [String] {
        guard !rule.replacements.isEmpty else { return [] }
        let name = "rule \(rule.name)"
        if rule.terminal == .drop {
            return ["\(name): its replace has no effect: the same rule drops the packet"]
        }
        var notes: [String] = []
        for replacement in rule.replacements where replacement.find == replacement.with {
            notes.append("\(name): replaces \(Words.quote(replacement.find)) by itself")
        }
        for replacement in rule.replacements {
            let growth = replacement.with.count - replacement.find.count
            guard growth > 0 else { continue }
            let text = Words.quote(replacement.find, limit: 40)
            if tooLong(rule.match, replacement, mtu: mtu) {
                notes.append(
                    "\(name): what replaces \(text) cannot fit: every such packet would be longer "
                        + "than mtu, \(mtu) bytes, and is dropped (too_big)")
            } else {
                notes.append(
                    "\(name): each \(text) adds \(growth) \(growth == 1 ? "byte" : "bytes"): a "
                        + "packet that grows beyond mtu, \(mtu) bytes, is dropped (too_big)")
            }
        }
        return notes
    }

    /// Even the shortest packet in which it can stand grows beyond `mtu`.
    private static func tooLong(_ match: Match, _ replacement: Replacement, mtu: Int) -> Bool {
        let header = match.needs.possibleVersions.contains(4) ? 20 : 40
        let found = header + UDPHeader.length + replacement.find.count
        let shortest = match.lengths?.map { Int($0.lowerBound) }.min() ?? 0
        return max(found, shortest) + replacement.with.count - replacement.find.count > mtu
    }
}
