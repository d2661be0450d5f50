import Dataplane
import Foundation
import Support
import Testing
import Wire

@testable import Configuration
@testable import Explain
@testable import RuleEngine

@Suite("Config file")
struct ConfigTests {
    static let here = URL(filePath: #filePath).deletingLastPathComponent()
    static let wrong = here.appending(path: "WrongConfigs")
    static let examples = here.deletingLastPathComponent().deletingLastPathComponent()
        .appending(path: "deploy/examples")

    static func files(in folder: URL) -> [String] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.path())) ?? []
        return names.filter { $0.hasSuffix(".yaml") }.sorted()
    }

    private func parse(_ text: String) throws -> Configuration {
        try ConfigFile.parse(text, path: "test.yaml")
    }

    /// The first line of each file has what must be said about it: line and text, one complaint
    /// after the other.
    @Test(arguments: files(in: wrong))
    func `a wrong file gives its clear error`(name: String) throws {
        let path = Self.wrong.appending(path: name).path()
        let text = try String(contentsOfFile: path, encoding: .utf8)
        let wanted = text.prefix { $0 != "\n" }.dropFirst(2).components(separatedBy: " | ")
        let errors = #expect(throws: ConfigErrors.self) { try ConfigFile.read(path) }
        let lines = errors?.lines ?? []
        #expect(lines.count == wanted.count, "\(lines)")
        for (line, want) in zip(lines, wanted) {
            #expect(line.hasPrefix("\(path):"))
            #expect(line.contains(want), "\(line)")
        }
    }

    @Test func `a mistake in a set names the set first`() throws {
        let name = "sluice-\(getpid())-wrong"
        let folder = FileManager.default.temporaryDirectory
        let (set, config) = (folder.appending(path: name), folder.appending(path: "\(name).yaml"))
        defer { for path in [set, config] { try? FileManager.default.removeItem(at: path) } }
        try "# a set\n192.0.2.300\n".write(to: set, atomically: true, encoding: .utf8)
        try "policy: { rules: [{ name: a, match: { address: '@\(name)' }, action: drop }] }\n"
            .write(to: config, atomically: true, encoding: .utf8)
        let errors = #expect(throws: ConfigErrors.self) { try ConfigFile.read(config.path()) }
        #expect(errors?.lines.count == 1)
        let line = errors?.lines.first ?? ""
        #expect(
            line.hasPrefix("\(set.path()):2: expected an address or prefix, found '192.0.2.300'"))
        #expect(line.contains("\(name).yaml:1: policy.rules[0].match.address"), "\(line)")
    }

    @Test(arguments: [
        ("proto", "protocol"), ("dport", "destination-port"), ("sport", "source-port"),
        ("src", "source"), ("dst", "destination"), ("destination_port", "destination-port"),
    ])
    func `what others call it is understood`(word: String, meant: String) throws {
        let errors = #expect(throws: ConfigErrors.self) {
            try parse("policy: { rules: [{ name: a, match: { \(word): 1 }, action: drop }] }")
        }
        #expect(
            errors?.lines.first?.contains("did you mean \(meant)?") == true,
            "\(errors?.lines ?? [])")
    }

    @Test(arguments: [
        ("accept", "forward"), ("allow", "forward"), ("deny", "drop"), ("block", "drop"),
    ])
    func `other programs' actions are understood`(word: String, meant: String) throws {
        for text in ["rules: [{ name: a, action: \(word) }]", "default: \(word)"] {
            let errors = #expect(throws: ConfigErrors.self) { try parse("policy: { \(text) }") }
            #expect(errors?.lines.first?.contains("did you mean \(meant)?") == true)
        }
    }

    @Test func `lists of CPUs and names in quotes are taken`() throws {
        #expect(try parse("listen: { cpus: [0, 1, 4-5] }").run.cpus == [0, 1, 4, 5])
        let match = "{ protocol: \"tcp\", dscp: [\"ef\", 'af41'] }"
        let policy = try parse(
            "policy: { rules: [{ name: a, match: \(match), action: \"drop\" }] }"
        ).policy
        #expect(policy.main.rules[0].terminal == .drop)
    }

    @Test func `an address in braces without quotes is explained`() throws {
        for value in ["::1", "[::1, 10.0.0.1]", "fe80::"] {
            let errors = #expect(throws: ConfigErrors.self) {
                try parse(
                    "policy: { rules: [{ name: a, match: { source: \(value) }, action: drop }] }")
            }
            #expect(
                errors?.lines.first?.contains("needs quotes, '::1'") == true,
                "\(errors?.lines ?? [])")
        }
    }

    @Test(arguments: [
        ("", "fragments: follow-first, the default"),
        (
            "fragments: drop, rules: [{ name: n, match: { flow: new }, action: drop }]",
            "flow (rule 'n')"
        ),
        (
            "fragments: drop, rules: [{ name: r, match: { rate: { packets-per-second: 5 } }, "
                + "action: drop }]",
            "rate (rule 'r')"
        ),
        ("fragments: drop, on-unknown-tcp: drop", "on-unknown-tcp: drop"),
        ("fragments: drop", nil),
    ])
    func `steering by CPU needs a policy without flow state`(policy: String, need: String?) throws {
        let split = "listen: { steer: cpu }\npolicy: { \(policy) }\n"
        let configuration = try parse(split)
        #expect(configuration.policy.needsWholeFlows == need)
        if need == nil {
            #expect(Conflict.all(in: configuration).isEmpty)
        } else {
            #expect(
                Conflict.all(in: configuration).map(\.text) == [
                    "test.yaml:1: listen.steer: steering by CPU splits flows, but the policy uses "
                        + "\(need ?? ""): steer by flow, do without it, or say "
                        + "flows: { allow-split-flows: true }"
                ])
        }
        let allowed = try parse(split + "flows: { allow-split-flows: true }\n")
        #expect(Conflict.all(in: allowed).isEmpty)
    }

    @Test func `there are wrong files of at least 60 kinds`() {
        #expect(Self.files(in: Self.wrong).count >= 60)
    }

    @Test(arguments: files(in: examples))
    func `the examples are valid`(name: String) throws {
        let path = Self.examples.appending(path: name).path()
        #expect(throws: Never.self) { try ConfigFile.read(path) }
        let words = try ConfigCheck(path).lines
        #expect(words[0].hasPrefix("\(path): valid"))
    }

    /// Most likely a file that somebody is writing: it would forward everything.
    @Test(arguments: [
        "", "# nothing\n", "\n\n", "policy:\n", "policy:\n  rules:\n",
        "policy:\n  default: drop\n  rules:\n",
    ])
    func `a file that says nothing is refused`(text: String) throws {
        let errors = #expect(throws: ConfigErrors.self) { try parse(text) }
        #expect(errors?.description.contains("says nothing") == true)
    }

    @Test(arguments: ["policy: {}\n", "policy: {}\nlisten: {}\n", "policy: { rules: [] }\n"])
    func `a file may ask for the defaults`(text: String) throws {
        let configuration = try parse(text)
        #expect(configuration.policy == PolicySet())
        #expect(configuration.run.settings.mtu == 8500)
        #expect(!configuration.run.mtuIsSet)
        #expect(configuration.run.health == ListenAddress("0.0.0.0:8080"))
        #expect(configuration.run.drain == DrainLimits())
        #expect(configuration.logLevel == .info)
    }

    @Test func `the file of all defaults says what holds without it`() throws {
        let path = Self.examples.appending(path: "sluice.yaml").path()
        let (said, unsaid) = (try ConfigFile.read(path), Configuration())
        #expect(LiveChange.refused(from: said, to: unsaid).isEmpty)
        #expect(said.policy == unsaid.policy)
        #expect(said.run.drain == unsaid.run.drain)
        #expect(said.run.settings.mtu == unsaid.run.settings.mtu)
        #expect(said.run.settings.tcpIdleNanoseconds == unsaid.run.settings.tcpIdleNanoseconds)
        #expect(said.run.settings.otherIdleNanoseconds == unsaid.run.settings.otherIdleNanoseconds)
        #expect(said.run.settings.requireAWSOptions == unsaid.run.settings.requireAWSOptions)
        #expect(said.run.settings.verifyOuterChecksum == unsaid.run.settings.verifyOuterChecksum)
        #expect(said.run.settings.forwardsUndecodable == unsaid.run.settings.forwardsUndecodable)
        #expect(said.logLevel == unsaid.logLevel)
        #expect(said.logFormat == unsaid.logFormat)
    }

    @Test func `every key is read`() throws {
        let configuration = try parse(
            """
            listen:
              interface: [eth0, eth1]
              address: 192.0.2.7
              io: raw
              workers: 3
              cpus: 0-1,3
              busy-poll: true
              ring: { frames: 128, frame-size: 2048 }
              allow-sources: [10.0.0.0/8, 192.0.2.1]
            health: { address: "127.0.0.1:81", tcp: "127.0.0.1:82" }
            drain: { minimum: 1s, idle: 500ms, timeout: 2m }
            geneve:
              { require-aws-options: false, outer-checksum: zero, verify-outer-checksum: always }
            mtu: 1400
            flows: { per-worker: 1024, tcp-idle: 10s, other-idle: 5s, on-full: drop }
            policy: { on-error: forward }
            log: { level: debug, format: json }
            """)
        let run = configuration.run
        #expect(run.interfaces == ["eth0", "eth1"])
        #expect(run.address == 0xC000_0207)
        #expect(run.backend == .raw)
        #expect(run.workers == 3)
        #expect(run.cpus == [0, 1, 3])
        #expect(run.busyPoll)
        #expect(run.ringFrames == 128)
        #expect(run.frameSize == 2048)
        #expect(run.allowedSources.map(\.address) == [0x0A00_0000, 0xC000_0201])
        #expect(run.allowedSources.map(\.length) == [8, 32])
        #expect(run.health == ListenAddress("127.0.0.1:81"))
        #expect(run.healthTCP == ListenAddress("127.0.0.1:82"))
        #expect(run.drain.minimum == .seconds(1))
        #expect(run.drain.idle == .milliseconds(500))
        #expect(run.drain.timeout == .seconds(120))
        #expect(!run.settings.requireAWSOptions)
        #expect(run.zeroOuterChecksum)
        #expect(run.settings.verifyOuterChecksum == .always)
        #expect(run.settings.mtu == 1400)
        #expect(run.mtuIsSet)
        #expect(run.flowsPerWorker == 1024)
        #expect(run.settings.tcpIdleNanoseconds == 10_000_000_000)
        #expect(run.settings.otherIdleNanoseconds == 5_000_000_000)
        #expect(run.settings.dropsWhenFull)
        #expect(run.settings.forwardsUndecodable)
        #expect(configuration.logLevel == .debug)
        #expect(configuration.logFormat == .json)
    }

    @Test func `every condition and action of a rule is read`() throws {
        let rules = try parse(
            """
            policy:
              default: drop
              fragments: drop
              on-unknown-tcp: drop
              rules:
                - name: all
                  match:
                    protocol: [udp, 6]
                    version: 4
                    source: [10.0.0.0/8, 192.0.2.1]
                    destination: 0.0.0.0/0
                    address: 10.0.0.0/24
                    source-port: 1-1023
                    destination-port: [53, 80-81]
                    port: 53
                    endpoint: vpce-0123456789abcdef0
                    payload: { contains: ['a\\x00\\xffb', plain], ignore-case: true }
                    length: 20-100
                    fragment: none
                    flow: established
                    sample: { every: 100 }
                  action: [log, count, { replace: [{ find: ab, with: cd }] }, drop]
                  dry-run: true
                - { name: syn, match: { tcp-flags: { set: [syn], clear: [ack, fin] } }, action: forward }
                - { name: ping, match: { icmp: { type: [0, 8], code: 0, sequence: { every: 5 } } }, action: count }
            """
        ).policy.main
        #expect(rules.dropsByDefault)
        #expect(rules.fragments == .drop)
        let all = rules.rules[0]
        #expect(all.match.protocols == ByteSet([6, 17]))
        #expect(all.match.version == 4)
        #expect(all.match.source?.map(\.first) == [0x0A00_0000, 0xC000_0201])
        #expect(all.match.destination?[0].last == 0xFFFF_FFFF)
        #expect(all.match.address?[0].last == 0x0A00_00FF)
        #expect(all.match.sourcePorts == [1...1023])
        #expect(all.match.destinationPorts == [53...53, 80...81])
        #expect(all.match.ports == [53...53])
        #expect(all.match.endpoints == [0x1234_5678_9abc_def0])
        #expect(all.match.payload?.strings == [[97, 0, 255, 98], Array("plain".utf8)])
        #expect(all.match.payload?.ignoresCase == true)
        #expect(all.match.lengths == [20...100])
        #expect(all.match.fragment == Match.Fragment.none)
        #expect(all.match.flow == .established)
        #expect(all.match.sampleEvery == 100)
        #expect(rules.dropsUnknownTCP)
        #expect(all.isLogged && all.isDryRun)
        #expect(all.terminal == .drop)
        #expect(all.replacements == [Replacement(find: [97, 98], with: [99, 100])])
        #expect(rules.rules[1].match.tcpFlags == Match.TCPFlags(set: 2, clear: 0b1_0001))
        #expect(rules.rules[2].match.icmp?.sequenceEvery == 5)
        #expect(rules.rules[2].match.icmp?.codes == ByteSet([0]))
    }

    @Test func `the policy in plain words`() throws {
        let path = Self.examples.appending(path: "blog.yaml").path()
        let packets =
            "payload is matched packet by packet: of a datagram in fragments only the first is searched"
        let expected: [String] = [
            "policy:",
            "  1. drop-me: UDP, port 3000, payload contains 'drop me' -> drop",
            """
              2. strongly-typed: UDP, port 3000, payload contains 'weakly typed' -> \
            replace 'weakly typed' by 'strongly typed'
            """,
            """
              3. every-fifth-ping: ICMP, IPv4, ICMP type 0 or 8, an echo sequence number \
            that is a multiple of 5 -> drop
            """,
            "  otherwise: forward",
            "  later fragments: as the first of their packet",
            "  inner packets that cannot be decoded: drop",
            "note: rule drop-me: \(packets)",
            "note: rule strongly-typed: \(packets)",
            """
            note: rule strongly-typed: each 'weakly typed' adds 2 bytes: a packet that grows \
            beyond mtu, 8500 bytes, is dropped (too_big)
            """,
        ]
        let lines = try ConfigCheck(path).lines.dropFirst().filter { !$0.hasPrefix("memory: ") }
        #expect(lines == expected)
    }

    @Test func `limits and their memory in plain words`() throws {
        let path = Self.examples.appending(path: "rate-limit.yaml").path()
        let words = try ConfigCheck(path).lines
        #expect(
            words[2]
                == "  1. connection-flood: TCP, with SYN without ACK, what exceeds 100 packets "
                + "per second of each source (200 at once) -> log, then drop")
        #expect(
            words[3] == "  2. ping-flood: ICMP or ICMPv6, what exceeds 1000 packets per second "
                + "(100 at once) -> drop")
        // Of two workers, on whatever host.
        let memory = try MemoryWords.describe(
            try ConfigFile.parse(
                "listen: { workers: 2 }\n" + String(contentsOfFile: path, encoding: .utf8),
                path: path), path)
        #expect(memory.contains(", limits 3169 KiB; "))
    }

    @Test func `a rate has a burst of a tenth, and is the whole appliance's, unless said`() throws {
        let rules = try parse(
            """
            policy:
              rules:
                - { name: a, match: { rate: { packets-per-second: 500 } }, action: drop }
                - { name: b, match: { rate: { packets-per-second: 5 } }, action: drop }
                - name: c
                  match: { rate: { packets-per-second: 7, burst: 9, per: source } }
                  action: drop
                - { name: d, match: { rate: { packets-per-second: 1, per: flow } }, action: drop }
                - { name: e, match: { rate: { packets-per-second: 1, per: endpoint } }, action: drop }
            """
        ).policy.main.rules
        #expect(rules[0].match.rate == Match.Rate(packetsPerSecond: 500, burst: 50, per: .all))
        #expect(rules[1].match.rate?.burst == 1)
        #expect(rules[2].match.rate == Match.Rate(packetsPerSecond: 7, burst: 9, per: .source))
        #expect(rules[3].match.rate?.per == .flow)
        #expect(rules[4].match.rate?.per == .endpoint)
        let policy = try parse(
            """
            policy:
              rules:
                - { name: a, match: { rate: { packets-per-second: 5 } }, action: drop }
                - { name: b, match: { port: 53 }, action: drop }
            """
        ).policy
        #expect(Shadows.of(policy).isEmpty, "what stays within the limit goes on")
    }

    @Test func `rules that can never match are named`() throws {
        let policy = try parse(
            """
            policy:
              rules:
                - { name: web, match: { protocol: tcp, port: 80-443 }, action: forward }
                - { name: same, match: { protocol: tcp, port: [80, 443] }, action: drop }
                - { name: udp, match: { protocol: [tcp, udp], port: 80 }, action: drop }
                - { name: trial, action: drop, dry-run: true }
                - { name: net, match: { source: 10.0.0.0/8 }, action: drop }
                - { name: host, match: { source: [10.1.1.1, 10.2.0.0/16], length: 40 }, action: log }
                - { name: other, match: { source: [10.1.1.1, 11.0.0.1] }, action: count }
                - { name: rest, action: [log, drop] }
                - { name: never, match: { flow: established }, action: forward }
            """
        ).policy
        #expect(
            Shadows.of(policy) == [
                "rule host can never match: net decides all its packets",
                "rule never can never match: rest decides all its packets",
                "rule same can never match: web decides all its packets",
            ])
    }

    @Test func `flags beat variables, which beat the file, which beats the defaults`() throws {
        let path = FileManager.default.temporaryDirectory
            .appending(path: "sluice-\(getpid())-precedence.yaml").path()
        try """
        listen: { workers: 2, io: raw, address: 192.0.2.1, cpus: 0-1 }
        health: { address: "127.0.0.1:81", tcp: "127.0.0.1:82" }
        log: { level: debug }
        """.write(toFile: path, atomically: true, encoding: .utf8)
        defer { try? FileManager.default.removeItem(atPath: path) }
        let loader = ConfigLoader(
            path: path, flags: ["workers": "4", "health": "127.0.0.1:83"],
            environment: ["SLUICE_WORKERS": "3", "SLUICE_IO": "udp", "SLUICE_CPUS": "auto"])
        let configuration = try loader.load()
        #expect(configuration.run.workers == 4)
        #expect(configuration.run.backend == .udp)
        #expect(configuration.run.cpus == [])
        #expect(configuration.run.address == 0xC000_0201)
        #expect(configuration.run.health.port == 83)
        #expect(configuration.run.healthTCP?.port == 82)
        #expect(configuration.logLevel == .debug)
    }

    @Test func `a file that is not there is named`() {
        let errors = #expect(throws: ConfigErrors.self) { try ConfigFile.read("/nowhere/a.yaml") }
        #expect(errors?.lines == ["/nowhere/a.yaml: No such file or directory"])
    }

    @Test(
        "addresses and prefixes of both versions",
        arguments: [
            ("10.0.0.0/8", false, 0x0A00_0000 as UInt128, 8), ("0.0.0.0/0", false, 0, 0),
            ("255.255.255.255", false, 0xFFFF_FFFF, 32), ("::/0", true, 0, 0),
            ("::1", true, 1, 128), ("fd00::/8", true, 0xFD << 120, 8),
            ("::ffff:1.2.3.4", true, 0xFFFF_0102_0304, 128),
        ])
    func prefixes(text: String, isIPv6: Bool, address: UInt128, length: Int) throws {
        let prefix = try AddressText.prefix(Array(text.utf8)).get()
        #expect(prefix == .init(isIPv6: isIPv6, address: address, length: length))
        let written = AddressText.format(address, isIPv6: isIPv6)
        #expect(text.hasPrefix(written) || text.contains("ffff"))
    }

    @Test(
        "not addresses",
        arguments: [
            "", "/", "1.2.3", "1.2.3.4.5", "1.2.3.256", "01.2.3.4", "1.2.3.4/33", "1.2.3.4/",
            "1.2.3.4/-1", "::1/129", ":::", "fd00::/08", "1..2.3", "a.b.c.d", "::g", "1.2.3.4/ 8",
        ])
    func notPrefixes(text: String) {
        #expect(throws: AddressText.Refusal.notAnAddress) {
            try AddressText.prefix(Array(text.utf8)).get()
        }
    }

    @Test func `a long list of prefixes loads`() throws {
        let path = FileManager.default.temporaryDirectory
            .appending(path: "sluice-\(getpid())-set.txt").path()
        var generator = SplitMix64(seed: 1)
        let lines = (0..<100_000).map { _ in
            IPv4Address.format(UInt32(truncatingIfNeeded: generator.next()) & ~255) + "/24\n"
        }
        try lines.joined().write(toFile: path, atomically: true, encoding: .utf8)
        defer { try? FileManager.default.removeItem(atPath: path) }
        #expect(try SetFolder(of: "").read(path).get().count == 100_000)
    }

    @Test func `a set that many rules name is read once`() throws {
        let path = FileManager.default.temporaryDirectory
            .appending(path: "set-\(UInt64.random(in: .min ... .max))").path()
        defer { try? FileManager.default.removeItem(atPath: path) }
        try "192.0.2.0/24\n".write(toFile: path, atomically: true, encoding: .utf8)
        let folder = SetFolder(of: "/etc/sluice.yaml")
        let first = try folder.read(path).get()
        try FileManager.default.removeItem(atPath: path)
        #expect(try folder.read(path).get() == first)
        #expect(folder.files == [path])
    }
}
