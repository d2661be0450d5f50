import Dataplane
import RuleEngine
import Support

/// `version: 4` or `6`.
struct VersionKey: MatchKey {
    let version: UInt8

    static let key = Match.Key.version
    static let help = "The IP version of the inner packet."
    static let values = "4 or 6"
    static let example = "{ version: 6 }"
    static let schema: JSONValue = ["enum": [4, 6]]

    static func read(_ field: ConfigField, folder: SetFolder) -> Match.Condition? {
        switch field.plain {
        case "4": .version(4)
        case "6": .version(6)
        default: field.expected("4 or 6")
        }
    }

    var words: String { "IPv\(version)" }

    func covers(_ other: Match) -> Bool { other.needs.possibleVersions.isSubset(of: [version]) }

    func contradiction(in match: Match) -> String? { nil }
}
