import Dataplane
import Foundation
import Support
import Testing

@testable import Configuration

@Suite("YAML")
struct YAMLTextTests {
    @Test func `anchors and aliases may be used`() throws {
        let policy = try ConfigFile.parse(
            """
            policy:
              rules:
                # [why]: because?
                - { name: a, match: &dns { port: [53, "853-855"] }, action: drop }
                - { name: b, match: *dns, action: drop }
              endpoints:
                "vpce-1": { rules: [ { name: c, match: { endpoint: "vpce-1" }, action: drop } ] }
            """, path: "test.yaml"
        ).policy
        #expect(policy.main.rules[0].match.ports == [53...53, 853...855])
        #expect(policy.main.rules[1].match == policy.main.rules[0].match)
        #expect(policy.endpoints[1]?.rules[0].match.endpoints == [1])
    }

    @Test func `many aliases are no bomb`() throws {
        let rules = (0..<200).map { number in
            "    - { name: r\(number), match: *m, action: drop } # ? why: so\n"
        }
        let text =
            "policy:\n  rules:\n    - { name: a, match: &m { port: 1 }, action: count }\n"
            + rules.joined()
        #expect(try ConfigFile.parse(text, path: "t").policy.main.rules.count == 201)
    }

    /// Each would take longer than anybody waits, were it expanded.
    @Test(arguments: ["? *i\n: 1\n", "*i : 1\n", "{ [*i, *i]: 1 }\n", "x: { *i : 1 }\n"])
    func `aliases of aliases end soon`(key: String) {
        var text = "a: &a [x,x,x,x,x,x,x,x,x]\n"
        for (last, next) in zip("abcdefgh", "bcdefghi") {
            let list = [String](repeating: "*\(last)", count: 9).joined(separator: ",")
            text += "\(next): &\(next) [\(list)]\n"
        }
        #expect(throws: ConfigErrors.self) { try ConfigFile.parse(text, path: "t") }
        let errors = #expect(throws: ConfigErrors.self) {
            try ConfigFile.parse(text + key, path: "t")
        }
        #expect(errors?.lines.first?.contains("keys are words") == true, "\(errors?.lines ?? [])")
    }

    @Test func `the line that is not UTF-8 is named`() throws {
        let path = FileManager.default.temporaryDirectory
            .appending(path: "sluice-\(getpid())-latin1.yaml").path()
        try Data("mtu: 1500\n# caf\u{e9}\n".unicodeScalars.map { UInt8($0.value) })
            .write(to: URL(filePath: path))
        defer { try? FileManager.default.removeItem(atPath: path) }
        let errors = #expect(throws: ConfigErrors.self) { try ConfigFile.read(path) }
        #expect(errors?.lines == ["\(path):2: not UTF-8 text"])
    }
}
