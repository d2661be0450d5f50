import Configuration
import Dataplane
import RuleEngine

/// `sluice check`.
public enum ConfigCheck {
    /// The policy of a file in plain words. - Throws: every mistake.
    public static func describe(
        _ path: String, for processor: ProcessorShape = ProcessorShape(Rules.self)
    ) throws(ConfigErrors) -> [String] {
        let configuration = try ConfigFile.read(path, for: processor)
        guard processor.hasRules else { return ["\(path): valid"] }
        let rules = configuration.policy.rules.count
        var lines = ["\(path): valid, \(rules) \(rules == 1 ? "rule" : "rules")"]
        lines += PolicyWords.describe(configuration)
        lines.append(try MemoryWords.describe(configuration, path))
        var notes = Advice.of(configuration.policy, mtu: configuration.run.settings.mtu)
        notes += Impossible.of(configuration.policy)
        notes += Shadows.of(configuration.policy)
        return lines + notes.map { "note: \($0)" }
    }
}
