/// The keys of a rule.
enum RuleKey: String, CaseIterable {
    case name, description, match, action
    case dryRun = "dry-run"

    var help: String {
        switch self {
        case .name: "Names the rule's counter; 1 to 128 bytes, unique in the file."
        case .description: "Free text of at most 1024 bytes, shown by sluice check."
        case .match: "Conditions, all of which must hold; without it a rule is for every packet."
        case .action: "One action, or a list of them; what decides comes last."
        case .dryRun: "true: the rule only counts and logs."
        }
    }
}
