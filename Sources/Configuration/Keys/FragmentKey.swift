import Dataplane
import RuleEngine
import Support

/// `fragment: first`, `later`, `any` or `none`.
struct FragmentKey: MatchKey {
    let fragment: Match.Fragment

    static let key = Match.Key.fragment
    static let help =
        "Whether the inner packet is a fragment: the first of its packet, a later one, any, or "
        + "none. Later fragments have no ports, flags or payload to look at."
    static let values = ConfigField.oneOf(choices.map(\.key))
    static let example = "{ fragment: any }"
    static let schema = Schema.choice(choices.map(\.key))

    private static let choices: KeyValuePairs<String, Match.Fragment> = [
        "first": .first, "later": .later, "any": .any, "none": .none,
    ]

    static func read(_ field: ConfigField, folder: SetFolder) -> Match.Condition? {
        field.choice(choices).map { .fragment($0) }
    }

    var words: String {
        switch fragment {
        case .first: "a first fragment"
        case .later: "a later fragment"
        case .any: "a fragment"
        case .none: "not a fragment"
        }
    }

    func covers(_ other: Match) -> Bool {
        guard let theirs = other.fragment else { return false }
        return theirs == fragment || fragment == .any && theirs != .none
    }

    func contradiction(in match: Match) -> String? { nil }
}
