import Dataplane

/// The key `rate` of a match, read and in words.
extension ConfigReader {
    /// `{packets-per-second: N, burst: N, per: flow|source|endpoint|all}`.
    func readRate(_ field: ConfigField) -> Match.Rate? {
        guard let fields = field.section(["packets-per-second", "burst", "per"]) else { return nil }
        guard let rate = fields["packets-per-second"] else {
            field.missing("expected {packets-per-second: N}", fields)
            return nil
        }
        let range = 1...Int(Match.Rate.highest)
        let packets = rate.integer(range)
        let burst = fields["burst"].map { $0.integer(range) }
        let per = fields["per"].map { field -> Match.Rate.Per? in
            field.choice(["flow": .flow, "source": .source, "endpoint": .endpoint, "all": .all])
        }
        // What was written wrongly is nil inside.
        guard let packets, let burst = burst ?? .some(0),
            let per = per ?? .all
        else { return nil }
        return Match.Rate(
            packetsPerSecond: UInt32(packets), burst: burst == 0 ? nil : UInt32(burst), per: per)
    }

    /// - Parameter policy: as read up to the rule in this field.
    func checkFlowLimits(_ field: ConfigField, _ policy: Policy) {
        func isPerFlow(_ rule: Rule) -> Bool { rule.match.rate?.per == .flow }
        guard let last = policy.rules.last, isPerFlow(last),
            policy.rules.count(where: isPerFlow) == Policy.flowLimitCapacity + 1
        else { return }
        field.fail(
            "at most \(Policy.flowLimitCapacity) rules of a policy can have a rate per flow")
    }
}

extension PolicyWords {
    static func rate(_ rate: Match.Rate) -> String {
        let owner =
            switch rate.per {
            case .flow: " of each flow"
            case .source: " of each source"
            case .endpoint: " of each endpoint"
            case .all: ""
            }
        return "what exceeds \(rate.packetsPerSecond) packets per second\(owner) "
            + "(\(rate.burst) at once)"
    }
}
