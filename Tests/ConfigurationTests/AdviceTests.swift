import Dataplane
import SluiceTesting
import Support
import Testing
import Wire

@testable import Configuration
@testable import Explain
@testable import RuleEngine

/// What `sluice check` says about a valid policy: it must be true, whatever the policy is.
@Suite("Advice on a policy")
struct AdviceTests {
    private func notes(_ text: String) throws -> [String] {
        let configuration = try ConfigFile.parse(text, path: "test.yaml")
        let set = configuration.policy
        return Impossible.of(set) + Shadows.of(set)
            + Advice.of(set, mtu: configuration.run.settings.mtu)
    }

    private func rules(_ rules: String...) -> String {
        "policy:\n  rules:\n" + rules.map { "    - { name: \($0) }\n" }.joined()
    }

    // ---- Rules that can never match.

    @Test(arguments: [
        ("tcp-flags: { set: [syn] }, icmp: { type: 8 }", "ask for different protocols"),
        ("port: 53, icmp: { type: 8 }", "ask for different protocols"),
        ("protocol: [udp, tcp], tcp-flags: { set: [syn] }", nil),
        ("source: 10.0.0.0/8, destination: 'fd00::/8'", "ask for different IP versions"),
        ("protocol: icmpv6, icmp: { type: 128 }, source: 10.0.0.1", "different IP versions"),
        ("protocol: icmpv6, icmp: { type: 128 }, source: [10.0.0.1, 'fd00::1']", nil),
        (
            "address: 10.0.0.0/8, source: 11.0.0.1, destination: [12.0.0.1, 13.0.0.0/8]",
            "neither source nor destination has an address of address"
        ),
        ("address: 10.0.0.0/8, source: 11.0.0.1, destination: 10.1.0.0/16", nil),
        (
            "port: 80, source-port: 1-79, destination-port: [81, 443]",
            "neither source-port nor destination-port has a port of port"
        ),
        ("port: 80, source-port: 1-79", nil),
        ("icmp: { type: 3, sequence: { every: 5 } }", "only echo messages have a sequence number"),
        ("version: 6, icmp: { type: 8, sequence: { every: 5 } }", "only echo messages"),
        ("icmp: { type: [3, 8], sequence: { every: 5 } }", nil),
        ("version: 6, length: 20-39", "at least 40 bytes long"),
        ("protocol: tcp, payload: { contains: hello }, length: 20-44", "at least 45 bytes long"),
        ("payload: { contains: hello }, length: 20-32", "at least 33 bytes long"),
        ("payload: { contains: [hello, x] }, length: 29", nil),
        ("endpoint: [vpce-1, vpce-2]", nil),
        (
            "port: 80, not: { port: 1-100 }",
            "not refuses every packet that the rest asks for, by port"
        ),
        ("ttl: 1-5, not: { ttl: 0-10 }", "by ttl"),
        ("dscp: ef, not: { dscp: [46, 10] }", "by dscp"),
        ("source: 10.0.0.1, not: { version: 4 }", "different IP versions"),
        ("port: 80, not: { port: 81 }", nil),
    ])
    func `conditions that no packet meets together`(match: String, reason: String?) throws {
        let found = try notes(rules("r, match: { \(match) }, action: drop"))
            .filter { $0.contains("can never match") }
        if let reason {
            #expect(found.count == 1 && found[0].hasPrefix("rule r can never match: "))
            #expect(found.first?.contains(reason) == true, "\(found)")
        } else {
            #expect(found.isEmpty, "\(found)")
        }
    }

    @Test func `a rule for an endpoint whose packets do not come there`() throws {
        let found = try notes(
            """
            policy:
              rules:
                - { name: lost, match: { endpoint: vpce-1 }, action: drop }
                - { name: half, match: { endpoint: [vpce-1, vpce-2] }, action: drop }
              endpoints:
                vpce-1:
                  rules:
                    - { name: other, match: { endpoint: vpce-2 }, action: drop }
                    - { name: own, match: { endpoint: vpce-1 }, action: drop }
            """)
        #expect(
            found == [
                "rule lost can never match: every endpoint it names has a policy of its own",
                "rule other can never match: it stands in another endpoint's policy",
            ])
    }

    @Test(arguments: [
        ("protocol: [udp, tcp]", "port: 53", true),
        ("protocol: tcp", "port: 53", false),
        ("port: 53", "source-port: 53", true),
        ("port: [50-55, 56-60]", "destination-port: 54-58", true),
        ("source-port: 53", "port: 53", false),
        ("address: 10.0.0.0/8", "destination: 10.1.0.0/16", true),
        ("source: 10.0.0.0/8", "address: 10.1.0.0/16", false),
        ("version: 4", "source: 10.0.0.1", true),
        ("version: 4", "source: [10.0.0.1, 'fd00::1']", false),
        ("fragment: any", "fragment: later", true),
        ("fragment: first", "fragment: any", false),
        ("payload: { contains: me }", "payload: { contains: [drop me, forget me] }", true),
        ("payload: { contains: me }", "payload: { contains: [drop me, you] }", false),
        ("payload: { contains: ME, ignore-case: true }", "payload: { contains: drop me }", true),
        ("payload: { contains: me }", "payload: { contains: me, ignore-case: true }", false),
        ("sample: { every: 1 }", "sample: { every: 1 }", false),
        ("flow: new", "flow: new, port: 53", true),
        ("flow: new", "port: 53", false),
        ("icmp: { sequence: { every: 5 } }", "icmp: { sequence: { every: 10 } }", true),
        ("tcp-flags: { set: [syn] }", "tcp-flags: { set: [syn], clear: [ack] }", true),
    ])
    func `what an earlier rule decides`(first: String, second: String, isShadowed: Bool) throws {
        let found = try notes(
            rules(
                "a, match: { \(first) }, action: drop", "b, match: { \(second) }, action: forward"))
        let claim = "rule b can never match: a decides all its packets"
        #expect(found.contains(claim) == isShadowed, "\(found)")
    }

    /// Of random policies, what is said to match nothing must match none of many packets.
    @Test func `no rule that is said to match nothing ever matches`() throws {
        var dice = SeededGenerator(seed: 11)
        var claims = 0
        for _ in 0..<60 {
            var configuration = Configuration()
            configuration.policy.main = RandomPolicy.make(
                &dice, rules: 12, keys: Match.Key.allCases.filter { $0 != .rate })
            let silent = Set(
                (Shadows.of(configuration.policy) + Impossible.of(configuration.policy)).map {
                    String($0.split(separator: " ")[1])
                })
            claims += silent.count
            guard !silent.isEmpty else { continue }
            let judge = try JudgeMaker.judge(
                configuration, ProcessorShape(Rules.self), packets: 100)
            for time in 0..<50 {
                let judgement = judge.judge(
                    RandomPacket.make(&dice, isMarked: true), at: UInt64(time) * 1_000_000)
                for rule in judgement.matched { #expect(!silent.contains("r\(rule)")) }
            }
        }
        #expect(claims > 50)
    }

    // ---- Replacements.

    @Test(arguments: [
        (8500, "", "find: a, with: b", nil),
        (8500, "", "find: aa, with: aaa", "each 'aa' adds 1 byte: a packet that grows beyond mtu"),
        (68, "", "find: a, with: '\(String(repeating: "y", count: 41))'", "cannot fit"),
        (68, "", "find: a, with: '\(String(repeating: "y", count: 40))'", "each 'a' adds 39 bytes"),
        (100, "length: [90-100, 95]", "find: a, with: '123456789012'", "cannot fit"),
        (100, "length: [89-100, 95]", "find: a, with: '123456789012'", "each 'a' adds 11 bytes"),
        (100, "version: 6", "find: a, with: '\(String(repeating: "y", count: 53))'", "cannot fit"),
        (8500, "", "find: a, with: a", "replaces 'a' by itself"),
        (8500, "", "find: aa, with: a", nil),
    ])
    func `a replace that cannot fit, and one that may not`(
        mtu: Int, match: String, replace: String, note: String?
    ) throws {
        let match = "protocol: udp" + (match.isEmpty ? "" : ", \(match)")
        let found = try notes(
            "mtu: \(mtu)\n"
                + rules("r, match: { \(match) }, action: { replace: [ { \(replace) } ] }"))
        #expect(found.count == (note == nil ? 0 : 1), "\(found)")
        if let note { #expect(found.first?.contains(note) == true, "\(found)") }
    }

    /// The claim against the engine: the shortest packet does not pass.
    @Test func `what is said not to fit is dropped`() throws {
        var configuration = Configuration()
        configuration.run.settings.mtu = 68
        var rule = Rule("grow")
        rule.match.protocols = ByteSet([17])
        for count in [40, 41] {
            rule.replacements = [
                Replacement(find: [97], with: [UInt8](repeating: 98, count: count))
            ]
            configuration.policy.main.rules = [rule]
            let judge = try JudgeMaker.judge(
                configuration, ProcessorShape(Rules.self), packets: 1)
            let packet = PacketBuilder(PacketBuilder.udp4(1, 2, [97])).bytes()
            let reason = judge.judge(packet, at: 0).reason
            let isTold = Advice.of(configuration.policy, mtu: 68)[0].contains("cannot fit")
            #expect(isTold == (count == 41))
            #expect(isTold == (reason == .tooBig))
        }
    }

    @Test func `payload rules that TCP can split are told, each`() throws {
        let found = try notes(
            rules(
                "both, match: { payload: { contains: x } }, action: drop",
                "tcp, match: { protocol: tcp, payload: { contains: y } }, action: drop",
                "udp, match: { protocol: udp, payload: { contains: z } }, action: drop",
                "change, match: { protocol: tcp }, action: { replace: [ { find: a, with: b } ] }",
                "lost, match: { protocol: udp }, action: [ { replace: [ { find: a, with: b } ] }, drop ]"
            ))
        #expect(
            found.filter { $0.contains("split over TCP") }.map { $0.prefix(9) }
                == ["rule both", "rule tcp:", "rule chan"])
        #expect(
            found.contains("rule lost: its replace has no effect: the same rule drops the packet"))
    }

    /// What the words of a policy hide.
    @Test(arguments: [
        ("protocol: icmp", "icmp is that of IPv4 alone"),
        ("protocol: [icmp, icmpv6]", nil),
        ("protocol: icmp, version: 4", nil),
        ("address: 10.0.0.1, port: 53", "address and port bind apart"),
        ("source: 10.0.0.1, port: 53", nil),
        ("protocol: udp, payload: { contains: x }", "of a datagram in fragments only the first"),
        ("protocol: udp, payload: { contains: é, ignore-case: true }", "ignore-case is for ASCII"),
        ("protocol: udp, payload: { contains: \"\\x90\" }", "write \\xHH in single quotes"),
    ])
    func `a trap is told`(match: String, note: String?) throws {
        let found = try notes(rules("r, match: { \(match) }, action: drop"))
        if let note {
            #expect(found.contains { $0.contains(note) }, "\(found)")
        } else {
            #expect(found.isEmpty, "\(found)")
        }
    }

    @Test(arguments: [
        ("", true),
        ("    - { name: errors, match: { protocol: icmp, version: 4 }, action: forward }", false),
    ])
    func `state without errors is told`(more: String, isTold: Bool) throws {
        let found = try notes(
            "policy:\n  default: drop\n  rules:\n"
                + "    - { name: answers, match: { flow: established }, action: forward }\n\(more)\n"
        )
        #expect(found.contains { $0.contains("also drops ICMP errors") } == isTold, "\(found)")
    }

    @Test func `memory is stated`() throws {
        let configuration = try ConfigFile.parse(
            "listen: { workers: 3, io: packet }\nflows: { per-worker: 1024 }\n", path: "test.yaml")
        let line = try MemoryWords.describe(configuration, "f")
        let flows = FlowTable<RuleFlow>.byteCount(capacity: 1024)
        #expect(
            line.hasPrefix("memory: 3 workers, each \((flows + 1023) >> 10) KiB for 1024 flows"))
        #expect(line.hasSuffix("in all"))
        let auto = try MemoryWords.describe(Configuration(), "f")
        #expect(auto.contains("as many as this host would have"))
    }
}
