import Dataplane
import RuleEngine
import Support

/// What a rule can do, by the words of the file.
package enum ActionWord: String, CaseIterable {
    case forward, drop, count, log, replace

    var help: String {
        switch self {
        case .forward: "The packet goes on; no later rule sees it."
        case .drop: "The packet is dropped; no later rule sees it."
        case .count: "The packet is counted, as by every rule, and later rules see it."
        case .log:
            "A line in the log, of each rule at most log.rule-lines a second; later rules see the packet."
        case .replace:
            "Every occurrence of a text in the payload of UDP or TCP becomes another; one that "
                + "changes the length applies to UDP only. Later rules match the packet as it came."
        }
    }

    var example: String {
        switch self {
        case .forward, .drop, .count, .log: rawValue
        case .replace: "[{ replace: [{ find: 'weakly', with: 'strongly' }] }, forward]"
        }
    }

    /// It stands alone, without a value.
    var isPlain: Bool {
        switch self {
        case .forward, .drop, .count, .log: true
        case .replace: false
        }
    }

    /// Does what the word says. Nothing for one that takes a value.
    func apply(to rule: inout Rule) {
        switch self {
        case .forward: rule.terminal = .forward
        case .drop: rule.terminal = .drop
        case .log: rule.isLogged = true
        case .count, .replace: break
        }
    }

    static var plain: [ActionWord] { allCases.filter(\.isPlain) }
    static var names: [String] { allCases.map(\.rawValue) }

    /// What a rule does, in order; counting goes without saying unless it is all.
    static func words(of rule: Rule) -> [String] {
        var words = rule.isLogged ? [ActionWord.log.rawValue] : []
        words += rule.replacements.map {
            "\(ActionWord.replace.rawValue) \(Words.quote($0.find)) by \(Words.quote($0.with))"
        }
        if let word = terminal(of: rule) { words.append(word.rawValue) }
        return words.isEmpty ? [ActionWord.count.rawValue] : words
    }

    /// The word that decides; nil when the rule leaves it to others.
    package static func terminal(of rule: Rule) -> ActionWord? {
        switch rule.terminal {
        case .forward: .forward
        case .drop: .drop
        case nil: nil
        }
    }
}
