import Foundation
import Support
import Testing

@testable import Configuration
@testable import Sluice

/// What tells people of settings says what the table says.
@Suite("Settings reference")
struct SettingsReferenceTests {
    private static let root = URL(filePath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent()

    /// With UPDATE_REFERENCE=1, writes the file instead.
    private func expect(_ path: String, toSay text: String) throws {
        let file = Self.root.appending(path: path)
        if ProcessInfo.processInfo.environment["UPDATE_REFERENCE"] != nil {
            try text.write(to: file, atomically: true, encoding: .utf8)
        }
        let isSame = try String(contentsOf: file, encoding: .utf8) == text
        #expect(
            isSame,
            "\(path) is not what the table of settings says: UPDATE_REFERENCE=1 swift test --filter ReferenceTests writes it"
        )
    }

    @Test func `the page of settings`() throws {
        try expect("docs/settings.md", toSay: SettingsReference.markdown)
    }

    @Test func `the schema`() throws {
        let path = "deploy/schema/sluice.schema.json"
        let made = ConfigSchema.schema(
            policy: PolicySchema.definition, definitions: PolicySchema.definitions)
        try expect(path, toSay: JSONText.pretty(made) + "\n")
    }

    @Test func `the example that has every key`() throws {
        let path = "deploy/examples/sluice.yaml"
        let lines = try String(contentsOf: Self.root.appending(path: path), encoding: .utf8)
            .components(separatedBy: "\n")
        let start = try #require(lines.firstIndex { $0.hasPrefix("policy:") })
        let policy = [lines[start]] + lines[(start + 1)...].prefix { $0.hasPrefix(" ") }
        try expect(path, toSay: SettingsReference.example(policy: policy))
    }

    @Test func `each setting with a flag has its option, and each option its setting`() {
        let help = Run.helpMessage(columns: 200)
        let options = help.matches(of: /^ +--([a-z-]+)/.anchorsMatchLineEndings())
            .map { String($0.1) }
        #expect(Set(options) == Set(Settings.all.filter(\.hasFlag).compactMap(\.word)))
        for setting in Settings.all where setting.hasFlag {
            #expect(help.contains(setting.flagHelp), "\(setting.name)")
        }
    }

    @Test func `what an option is given reaches its setting`() throws {
        for setting in Settings.all where setting.hasFlag {
            let word = setting.word ?? ""
            let value = setting.placeholder == nil ? [] : ["given"]
            let run = try Run.parse(["--\(word)"] + value)
            #expect(run.flags == [word: value.first ?? "true"])
        }
    }
}
