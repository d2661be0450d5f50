import Dataplane
import RuleEngine
import Wire

/// Reads the section `policy`.
extension ConfigReader {
    func readPolicy(_ field: ConfigField, _ configuration: inout Configuration) {
        let keys = PolicyKey.allCases.map(\.rawValue)
        // Most likely the beginning of a file that somebody is writing.
        if field.isNull { return field.fail("says nothing: for the defaults write policy: {}") }
        guard let fields = field.section(keys) else { return }
        // Counters are named after rules, so a name belongs to one rule of the whole file.
        var names: [String: Int] = [:]
        configuration.policy.main = readRules(of: fields, &names)
        configuration.run.settings.forwardsUndecodable = readOnError(fields)
        for (key, value) in fields["endpoints"]?.entries() ?? [] {
            guard let endpoint = key.node.scalar.flatMap({ EndpointID.parse($0.string) }) else {
                key.problems.note(
                    line: key.line,
                    "policy.endpoints: expected an endpoint id such as vpce-0123456789abcdef0, "
                        + "found \(key.found)")
                continue
            }
            guard let fields = value.section(keys.filter { $0 != "endpoints" }) else { continue }
            if configuration.policy.endpoints[endpoint] != nil {
                key.fail("another key names the same endpoint")
            }
            var policy = readRules(of: fields, &names)
            policy.forwardsUndecodable = readOnError(fields)
            configuration.policy.endpoints[endpoint] = policy
        }
    }

    private func readOnError(_ fields: [String: ConfigField]) -> Bool {
        fields["on-error"]?.choice(PolicyKey.onErrorWords) ?? false
    }

    private func readRules(
        of fields: [String: ConfigField], _ names: inout [String: Int]
    ) -> Policy {
        var policy = Policy()
        policy.dropsByDefault = fields["default"]?.choice(PolicyKey.defaultWords) ?? false
        policy.fragments = fields["fragments"]?.choice(PolicyKey.fragmentWords) ?? .followFirst
        policy.dropsUnknownTCP =
            fields["on-unknown-tcp"]?.choice(PolicyKey.unknownTCPWords) ?? false
        let reader = RuleReader(folder: folder)
        if let rules = fields["rules"], rules.isNull {
            rules.fail("says nothing: for no rules write rules: []")
        }
        for field in fields["rules"]?.list("rules") ?? [] {
            guard let rule = reader.read(field) else { continue }
            if let line = names[rule.name] {
                field.fail("duplicate name '\(rule.name)', first in line \(line)")
            }
            names[rule.name] = field.line
            policy.rules.append(rule)
            checkFlowLimits(field, policy)
        }
        if let excess = policy.excess { fields["rules"]?.fail(excess) }
        return policy
    }

    /// - Parameter policy: as read up to the rule in this field.
    private func checkFlowLimits(_ field: ConfigField, _ policy: Policy) {
        func isPerFlow(_ rule: Rule) -> Bool { rule.match.rate?.per == .flow }
        guard let last = policy.rules.last, isPerFlow(last),
            policy.rules.count(where: isPerFlow) == Policy.flowLimitCapacity + 1
        else { return }
        field.fail(
            "at most \(Policy.flowLimitCapacity) rules of a policy can have a rate per flow")
    }
}
