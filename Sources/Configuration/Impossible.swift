import Dataplane
import RuleEngine

/// Rules whose conditions no packet can meet together.
package enum Impossible {
    package static func of(_ set: PolicySet) -> [String] {
        let own = Set(set.endpoints.keys)
        let main = set.main.rules.compactMap { rule in
            reason(rule) {
                own.contains($0) ? "every endpoint it names has a policy of its own" : nil
            }
        }
        let others = set.endpoints.sorted { $0.key < $1.key }.flatMap { endpoint, policy in
            policy.rules.compactMap { rule in
                reason(rule) { $0 == endpoint ? nil : "it stands in another endpoint's policy" }
            }
        }
        return main + others
    }

    /// - Parameter stranger: why packets of an endpoint do not come here; nil when they do.
    private static func reason(_ rule: Rule, _ stranger: (UInt64) -> String?) -> String? {
        let endpoints = rule.match.endpoints?.map(stranger) ?? []
        let elsewhere = endpoints.contains { $0 == nil } ? nil : endpoints.first ?? nil
        return (elsewhere ?? rule.match.contradiction).map {
            "rule \(rule.name) can never match: \($0)"
        }
    }
}

extension Match {
    /// Why no packet meets all conditions; nil when one may.
    fileprivate var contradiction: String? {
        let needs = needs
        if needs.protocols.isEmpty { return "its conditions ask for different protocols" }
        if needs.possibleVersions.isEmpty { return "its conditions ask for different IP versions" }
        return conditions.lazy.compactMap { $0.written.contradiction(in: self) }.first
    }
}
