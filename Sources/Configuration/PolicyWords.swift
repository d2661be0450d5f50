import Dataplane
import RuleEngine
import Wire

/// A policy in plain words, for `sluice check`.
package enum PolicyWords {
    package static func describe(_ configuration: Configuration) -> [String] {
        let set = configuration.policy
        var main = set.main
        main.forwardsUndecodable = configuration.run.settings.forwardsUndecodable
        var lines = describe(
            main, title: set.endpoints.isEmpty ? "policy:" : "policy for all other endpoints:")
        for (endpoint, policy) in set.endpoints.sorted(by: { $0.key < $1.key }) {
            lines += describe(policy, title: "policy for \(EndpointID.format(endpoint)):")
        }
        return lines
    }

    private static func describe(_ policy: Policy, title: String) -> [String] {
        var lines = [title]
        for (index, rule) in policy.rules.enumerated() {
            let remark = rule.description.map { "  # \($0)" } ?? ""
            lines.append("  \(index + 1). \(rule.name): \(describe(rule))\(remark)")
        }
        if policy.dropsUnknownTCP {
            lines.append("  before the rules: drop TCP in mid-flow of which nothing was forwarded")
        }
        lines.append("  otherwise: \(policy.dropsByDefault ? "drop" : "forward")")
        switch policy.fragments {
        case .followFirst: lines.append("  later fragments: as the first of their packet")
        case .forward: lines.append("  later fragments that no rule decides: forward")
        case .drop: lines.append("  later fragments that no rule decides: drop")
        }
        let undecodable = policy.forwardsUndecodable ? "forward" : "drop"
        lines.append("  inner packets that cannot be decoded: \(undecodable)")
        return lines
    }

    static func describe(_ rule: Rule) -> String {
        let conditions = rule.match.words
        let when = conditions.isEmpty ? "every packet" : conditions.joined(separator: ", ")
        let trial = rule.isDryRun ? " (dry run: only counted)" : ""
        return "\(when) -> \(ActionWord.words(of: rule).joined(separator: ", then "))\(trial)"
    }
}
