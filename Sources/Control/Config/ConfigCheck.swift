import Dataplane

/// `sluice check`.
public enum ConfigCheck {
    /// The policy of a file in plain words. - Throws: every mistake.
    public static func describe(
        _ path: String, for processor: ProcessorShape = ProcessorShape(Rules.self)
    ) throws(ConfigErrors) -> [String] {
        let configuration = try ConfigFile.read(path, for: processor)
        try configuration.checkSteering(path)
        guard processor.hasRules else { return ["\(path): valid"] }
        let rules = configuration.policy.rules.count
        return ["\(path): valid, \(rules) \(rules == 1 ? "rule" : "rules")"]
            + PolicyWords.describe(configuration) + [try MemoryWords.describe(configuration, path)]
            + (Advice.of(configuration.policy, mtu: configuration.run.settings.mtu)
            + Impossible.of(configuration.policy)
            + Shadows.of(configuration.policy)).map { "note: \($0)" }
    }
}
