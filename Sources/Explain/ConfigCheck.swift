import Configuration
import Dataplane
import RuleEngine
import Support

/// `sluice check`.
public struct ConfigCheck {
    private let path: String
    /// Nil: the program decides without rules.
    private let rules: Int?
    private let words: [String]
    private let notes: [String]

    /// - Parameter path: of the file; "-" is standard input.
    /// - Throws: every mistake.
    public init(
        _ path: String, for processor: ProcessorShape = ProcessorShape(Rules.self)
    ) throws(ConfigErrors) {
        self.path = path
        let configuration = try ConfigFile.read(path, for: processor)
        guard processor.hasRules else {
            (rules, words, notes) = (nil, [], [])
            return
        }
        rules = configuration.policy.rules.count
        words =
            PolicyWords.describe(configuration) + [try MemoryWords.describe(configuration, path)]
        notes =
            Advice.of(configuration.policy, mtu: configuration.run.settings.mtu)
            + Impossible.of(configuration.policy) + Shadows.of(configuration.policy)
    }

    /// The policy in plain words.
    public var lines: [String] {
        let count = rules.map { ", \($0) \($0 == 1 ? "rule" : "rules")" } ?? ""
        return ["\(path): valid\(count)"] + words + notes.map { "note: \($0)" }
    }

    // ---- As JSON.

    private struct Told: Encodable {
        struct Mistake: Encodable {
            var file: String?
            var line: Int?
            var text: String

            /// - Parameter line: "sluice.yaml:3: what is wrong", or without the place.
            init(_ line: String) {
                text = line
                guard let end = line.firstRange(of: ": ") else { return }
                let place = line[..<end.lowerBound]
                guard let colon = place.lastIndex(of: ":"),
                    let number = Int(place[place.index(after: colon)...])
                else { return }
                file = String(place[..<colon])
                self.line = number
                text = String(line[end.upperBound...])
            }
        }
        var file: String
        var valid: Bool
        var rules: Int?
        var notes: [String]?
        var mistakes: [Mistake]?
    }

    public var json: String {
        JSONText.line(Told(file: path, valid: true, rules: rules, notes: notes))
    }

    /// Of a file that is wrong.
    public static func json(_ path: String, _ errors: ConfigErrors) -> String {
        JSONText.line(
            Told(file: path, valid: false, mistakes: errors.lines.map { Told.Mistake($0) }))
    }
}
