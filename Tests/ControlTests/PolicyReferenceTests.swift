import Dataplane
import Foundation
import Support
import Testing

@testable import Control

/// Schema and reference of the policy come from the keys, and the files in the repository are
/// those that the program would write. With UPDATE_REFERENCE=1 the tests write them.
@Suite("Policy reference")
struct PolicyReferenceTests {
    static let root = DocumentationTests.sources.deletingLastPathComponent()
    static let isUpdate = ProcessInfo.processInfo.environment["UPDATE_REFERENCE"] == "1"

    @Test func `the page is what the keys say`() throws {
        let file = Self.root.appending(path: "docs/policy.md")
        if Self.isUpdate {
            try PolicyReference.markdown.write(to: file, atomically: true, encoding: .utf8)
        }
        #expect(try String(contentsOf: file, encoding: .utf8) == PolicyReference.markdown)
    }

    @Test func `the schema's part is what the keys say`() throws {
        let file = Self.root.appending(path: "deploy/schema/sluice.schema.json")
        var schema = try #require(
            JSONSerialization.jsonObject(with: Data(contentsOf: file)) as? [String: Any])
        var properties = try #require(schema["properties"] as? [String: Any])
        var definitions = try #require(schema["$defs"] as? [String: Any])
        let policy = try Self.plain(PolicySchema.definition)
        let wanted = try PolicySchema.definitions.mapValues { try Self.plain($0) }
        if Self.isUpdate {
            properties["policy"] = policy
            definitions.merge(wanted) { $1 }
            schema["properties"] = properties
            schema["$defs"] = definitions
            try JSONSerialization.data(
                withJSONObject: schema,
                options: [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
            ).write(to: file)
        }
        #expect(properties["policy"] as? NSDictionary == policy)
        for (name, definition) in wanted {
            #expect(definitions[name] as? NSDictionary == definition, "\(name)")
        }
    }

    static func plain(_ value: JSONValue) throws -> NSDictionary {
        let data = Data(JSONText.line(value).utf8)
        return try #require(JSONSerialization.jsonObject(with: data) as? NSDictionary)
    }

    @Test(arguments: Match.Key.allCases)
    func `every key is read, told, in the schema and in the reference`(key: Match.Key) throws {
        let type = key.type
        #expect(type.key == key)
        #expect(type.help.hasSuffix("."), "a sentence")
        let file =
            "policy:\n  rules:\n    - name: a\n      match: \(type.example)\n"
            + "      action: count\n"
        let rules = try ConfigFile.parse(file, path: "test.yaml").policy.main.rules
        let condition = try #require(rules.first?.match[key], "\(file)")
        #expect(condition.key == key)
        #expect(Swift.type(of: condition.written) == type)
        #expect(!condition.written.words.isEmpty)
        #expect(PolicyWords.describe(rules[0]).contains(condition.written.words))
        guard case .object(let match)? = PolicySchema.definitions["match"],
            case .object(let keys)? = match["properties"],
            case .object(let part)? = keys[key.rawValue]
        else { return #expect(Bool(false), "not in the schema") }
        #expect(part["description"] == .string(type.help))
        #expect(PolicyReference.markdown.contains("### `\(key.rawValue)`\n\n\(type.help)\n"))
        #expect(PolicyReference.markdown.contains("Example: `match: \(type.example)`"))
    }

    @Test func `a description is told behind the words of its rule`() throws {
        let file =
            "policy:\n  rules:\n    - name: a\n      description: |\n        Ticket 7:\n"
            + "        noisy host\n      match: { port: 7 }\n      action: drop\n"
        let configuration = try ConfigFile.parse(file, path: "test.yaml")
        #expect(
            PolicyWords.describe(configuration)[1]
                == "  1. a: port 7 -> drop  # Ticket 7: noisy host")
    }

    @Test(arguments: ActionWord.allCases)
    func `every action is read, told and in the reference`(word: ActionWord) throws {
        let file =
            "policy:\n  rules:\n    - name: a\n      match: { protocol: udp }\n"
            + "      action: \(word.example)\n"
        let rule = try #require(
            try ConfigFile.parse(file, path: "test.yaml").policy.main.rules.first)
        #expect(PolicyWords.describe(rule).contains(word.rawValue))
        #expect(PolicyReference.markdown.contains("Example: `action: \(word.example)`"))
    }

    @Test func `every property of the policy's schema has a description`() {
        func check(_ value: JSONValue, _ path: String) {
            switch value {
            case .object(let keys):
                if case .object(let properties)? = keys["properties"] {
                    for (name, property) in properties {
                        guard case .object(let part) = property else { continue }
                        #expect(part["description"] != nil, "\(path).\(name)")
                    }
                }
                for (name, inner) in keys { check(inner, "\(path).\(name)") }
            case .array(let items): for item in items { check(item, path) }
            case .string, .integer, .number, .bool: break
            }
        }
        check(PolicySchema.definition, "policy")
        for (name, definition) in PolicySchema.definitions { check(definition, name) }
    }
}
