/// The keys of a rule.
enum RuleKey: String, CaseIterable {
    case name, match, action
    case dryRun = "dry-run"

    var help: String {
        switch self {
        case .name: "Names the rule's counter; 1 to 128 bytes, unique in the file."
        case .match: "Conditions, all of which must hold; without it a rule is for every packet."
        case .action: "One action, or a list of them; what decides comes last."
        case .dryRun: "true: the rule only counts and logs."
        }
    }
}
