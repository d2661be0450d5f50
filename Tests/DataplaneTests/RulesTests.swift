import PacketIO
import SluiceTesting
import Testing
import Wire

@testable import Dataplane
@testable import RuleEngine

/// A worker on memory with rules.
struct RuleBench: ~Copyable {
    let link: WorkerLink
    var snapshot: PolicySnapshot
    private var inForce: Snapshot
    var worker: Worker<MemoryIO, Rules>

    init(_ set: PolicySet, _ settings: PathSettings = PathSettings()) throws {
        try self.init(PolicySnapshot(set, generation: 1, workers: 1), settings)
    }

    init(_ first: PolicySnapshot, _ settings: PathSettings) throws {
        let snapshot = ProcessorSnapshot(
            Rules.Configuration(first), settings: settings, generation: first.generation)
        let link = try WorkerLink(Rules.self)
        link.publish(snapshot)
        worker = try Worker(
            index: 0, io: MemoryIO(), link: link, flowCapacity: 64, seed: 1,
            counters: CounterBlock(Rules.self))
        inForce = snapshot
        self.snapshot = first
        self.link = link
    }

    deinit { link.free() }

    init(_ policy: Policy) throws {
        var set = PolicySet()
        set.main = policy
        try self.init(set)
    }

    mutating func outcome(of packet: [UInt8], facts: FrameFacts = []) -> Outcome? {
        let before = Tally(worker.counters)
        worker.io.enqueue(packet, facts: facts)
        guard worker.runBurst() == 1 else { return nil }
        let frame = worker.io.frames[0]
        guard frame.isAnswer else {
            return Tally(worker.counters).since(before).dropReason.map { .dropped($0) }
        }
        return .forwarded(
            Array(UnsafeRawBufferPointer(start: frame.base, count: Int(frame.length))))
    }

    /// Publishes another policy; the old snapshot goes once the worker has moved on.
    mutating func publish(_ set: PolicySet, _ settings: PathSettings = PathSettings()) throws {
        let generation = inForce.generation + 1
        let policy = try PolicySnapshot(set, generation: generation, workers: 1)
        let next = ProcessorSnapshot(
            Rules.Configuration(policy), settings: settings, generation: generation)
        link.publish(next)
        _ = worker.runBurst()
        #expect(link.generation == generation)
        snapshot = policy
        inForce = next
    }
}

/// The policy of the blog as rules; deploy/examples/blog.yaml says the same.
let blogRules: Policy = {
    var policy = Policy()
    var drop = Rule("drop-me")
    drop.match.protocols = ByteSet([IPProtocol.udp])
    drop.match.ports = [3000...3000]
    drop.match.payload = Match.Payload([bytes("drop me")])
    drop.terminal = .drop
    var replace = Rule("strongly-typed")
    replace.match = drop.match
    replace.match.payload = Match.Payload([bytes("weakly typed")])
    replace.replacements = [
        Replacement(find: bytes("weakly typed"), with: bytes("strongly typed"))
    ]
    var ping = Rule("every-fifth-ping")
    ping.match.protocols = ByteSet([IPProtocol.icmp])
    ping.match.version = 4
    ping.match.icmp = Match.ICMP()
    ping.match.icmp?.types = ByteSet([0, 8])
    ping.match.icmp?.sequenceEvery = 5
    ping.terminal = .drop
    policy.rules = [drop, replace, ping]
    return policy
}()

/// Compiled once for all tests that compare with it.
let blogSnapshot: PolicySnapshot = {
    var set = PolicySet()
    set.main = blogRules
    return try! PolicySnapshot(set, generation: 1, workers: 1)
}()

func rule(_ name: String, _ terminal: Rule.Terminal?, _ change: (inout Match) -> Void) -> Rule {
    var rule = Rule(name)
    rule.terminal = terminal
    change(&rule.match)
    return rule
}

func policy(_ rules: Rule..., dropsByDefault: Bool = false) -> Policy {
    var policy = Policy()
    policy.rules = rules
    policy.dropsByDefault = dropsByDefault
    return policy
}

@Suite("Rules")
struct RulesTests {
    /// Every byte sequence has the same fate under the built-in policy and under the same rules.
    @Test func `the blog's rules do what the built-in policy does`() throws {
        var generator = SeededGenerator(seed: 7)
        var rules = try RuleBench(blogRules)
        var count = 0
        for _ in 0..<4000 {
            let packet = RandomPacket.make(&generator)
            var builtIn = try Bench(BlogPolicy.self, flowCapacity: 64)
            let expected = builtIn.outcome(of: packet)
            let found = rules.outcome(of: packet)
            #expect(found == expected)
            if case .dropped(.rule)? = found { count += 1 }
        }
        #expect(count > 50)
    }

    @Test func `without rules the default decides`() throws {
        let packet = PacketBuilder(PacketBuilder.udp4(1, 2, bytes("x")))
        var forward = try RuleBench(policy())
        #expect(forward.outcome(of: packet.bytes()).isUntouched(packet))
        var drop = try RuleBench(policy(dropsByDefault: true))
        #expect(drop.outcome(of: packet.bytes()) == .dropped(.default))
    }

    @Test func `the first rule that decides ends`() throws {
        var bench = try RuleBench(
            policy(
                rule("count", nil) { _ in },
                rule("web", .forward) { $0.destinationPorts = [80...80] },
                rule("rest", .drop) { _ in }, rule("never", nil) { _ in }))
        let web = PacketBuilder(PacketBuilder.tcp4(5, 80, bytes("x")))
        #expect(bench.outcome(of: web.bytes()).isUntouched(web))
        let other = PacketBuilder(PacketBuilder.tcp4(5, 81, bytes("x"))).bytes()
        #expect(bench.outcome(of: other) == .dropped(.rule))
        #expect((0..<4).map { bench.snapshot.hits(rule: $0) } == [2, 1, 1, 0])
    }

    @Test func `a dry run counts and does nothing`() throws {
        var trial = rule("trial", .drop) { _ in }
        trial.isDryRun = true
        var bench = try RuleBench(policy(trial))
        let packet = PacketBuilder(PacketBuilder.udp4(1, 2, bytes("x")))
        #expect(bench.outcome(of: packet.bytes()).isUntouched(packet))
        #expect(bench.snapshot.hits(rule: 0) == 1)
    }

    @Test func `several replacements apply one after the other, matches see the original`() throws {
        var replace = rule("replace", nil) { $0.protocols = ByteSet([17]) }
        replace.replacements = [
            Replacement(find: bytes("one"), with: bytes("three")),
            Replacement(find: bytes("two"), with: bytes("")),
        ]
        let drop = rule("drop", .drop) { $0.payload = Match.Payload([bytes("three")]) }
        var bench = try RuleBench(policy(replace, drop))
        let packet = PacketBuilder(PacketBuilder.udp4(1, 2, bytes("one two one")))
        let expected = PacketBuilder.udp4(1, 2, bytes("three  three"))
        #expect(bench.outcome(of: packet.bytes()) == answer(to: packet, expected))
    }

    @Test func `an endpoint can have a policy of its own`() throws {
        var set = PolicySet()
        set.main = policy(rule("main", .drop) { _ in })
        set.endpoints = [7: policy(rule("seven", nil) { _ in }), 9: policy(dropsByDefault: true)]
        var bench = try RuleBench(set)
        func packet(_ endpoint: UInt64) -> [UInt8] {
            var packet = PacketBuilder(PacketBuilder.udp4(1, 2, bytes("x")))
            packet.options[0] = .endpoint(endpoint)
            return packet.bytes()
        }
        #expect(bench.outcome(of: packet(8)) == .dropped(.rule))
        guard case .forwarded? = bench.outcome(of: packet(7)) else {
            Issue.record("dropped")
            return
        }
        #expect(bench.outcome(of: packet(9)) == .dropped(.default))
        #expect((0..<2).map { bench.snapshot.hits(rule: $0) } == [1, 1])
        #expect(bench.snapshot.ruleNames == ["main", "seven"])
    }

    @Test func `payload is found in any case when asked`() throws {
        let match = Match.Payload([bytes("Drop ME")], ignoresCase: true)
        var bench = try RuleBench(policy(rule("a", .drop) { $0.payload = match }))
        for text in ["drop me", "xxDROP mE", "dddrop me."] {
            let packet = PacketBuilder(PacketBuilder.udp4(1, 2, bytes(text))).bytes()
            #expect(bench.outcome(of: packet) == .dropped(.rule), "\(text)")
        }
        for text in ["drop m", "DROP_ME", "", "drop  me"] {
            let packet = PacketBuilder(PacketBuilder.udp4(1, 2, bytes(text)))
            #expect(bench.outcome(of: packet.bytes()).isUntouched(packet), "\(text)")
        }
    }

    // ---- Flows.

    private func tcp(_ from: UInt16, _ to: UInt16, _ flags: UInt8, back: Bool = false) -> [UInt8] {
        let (a, b) = (0xC0A8_010A as UInt32, 0xC0A8_020A as UInt32)
        return PacketBuilder(
            PacketBuilder.tcp4(
                from, to, bytes("x"), flags: flags, source: back ? b : a,
                destination: back ? a : b)
        ).bytes()
    }

    private func isForwarded(_ outcome: Outcome?) -> Bool {
        if case .forwarded? = outcome { return true }
        return false
    }

    @Test func `established means forwarded in the other direction`() throws {
        var bench = try RuleBench(
            policy(
                rule("out", .forward) {
                    $0.source = [AddressRange(isIPv6: false, address: 0xC0A8_010A, length: 32)]
                },
                rule("back", .forward) { $0.flow = .established }, dropsByDefault: true))
        #expect(bench.outcome(of: tcp(80, 5, 0x10, back: true)) == .dropped(.default))
        #expect(isForwarded(bench.outcome(of: tcp(5, 80, 0x02))))
        #expect(isForwarded(bench.outcome(of: tcp(80, 5, 0x12, back: true))))
        #expect(bench.outcome(of: tcp(80, 6, 0x12, back: true)) == .dropped(.default))
        // A reload keeps what is known of flows.
        var set = PolicySet()
        set.main = policy(rule("new", .drop) { $0.flow = .new })
        try bench.publish(set)
        #expect(isForwarded(bench.outcome(of: tcp(5, 80, 0x10))))
        #expect(bench.outcome(of: tcp(7, 80, 0x02)) == .dropped(.rule))
    }

    @Test func `a dropped packet establishes nothing`() throws {
        var bench = try RuleBench(
            policy(
                rule("back", .forward) { $0.flow = .established },
                rule("out", .drop) { _ in }))
        for _ in 0..<3 {
            #expect(bench.outcome(of: tcp(5, 80, 0x02)) == .dropped(.rule))
            #expect(bench.outcome(of: tcp(80, 5, 0x12, back: true)) == .dropped(.rule))
        }
    }

    @Test func `a sample is the first packet of a flow and every n-th`() throws {
        var bench = try RuleBench(policy(rule("sample", nil) { $0.sampleEvery = 4 }))
        for i in 0..<9 {
            #expect(isForwarded(bench.outcome(of: tcp(5, 80, 0x10, back: false))))
            #expect(bench.snapshot.hits(rule: 0) == UInt64(i / 4 + 1))
        }
        #expect(isForwarded(bench.outcome(of: tcp(6, 80, 0x10))))
        #expect(bench.snapshot.hits(rule: 0) == 4)
    }

    @Test func `TCP in mid-flow without state is dropped when the policy says so`() throws {
        var strict = policy()
        strict.dropsUnknownTCP = true
        var bench = try RuleBench(strict)
        for flags in [0x10, 0x18, 0x11, 0x04, 0x12, 0x00] as [UInt8] {
            #expect(bench.outcome(of: tcp(5, 80, flags)) == .dropped(.unknownTCP))
        }
        #expect(isForwarded(bench.outcome(of: tcp(5, 80, 0x02))))
        #expect(isForwarded(bench.outcome(of: tcp(80, 5, 0x12, back: true))))
        #expect(isForwarded(bench.outcome(of: tcp(5, 80, 0x18))))
        let udp = PacketBuilder(PacketBuilder.udp4(1, 2, bytes("x"))).bytes()
        #expect(isForwarded(bench.outcome(of: udp)))
    }

    /// A refused SYN opens nothing; after RST and another SYN the answer is awaited anew.
    @Test func `what is established ends with the connection`() throws {
        let out = rule("out", .forward) {
            $0.source = [AddressRange(isIPv6: false, address: 0xC0A8_010A, length: 32)]
        }
        let answers = rule("answers", .forward) { $0.flow = .established }
        var strict = policy(out, answers, dropsByDefault: true)
        strict.dropsUnknownTCP = true
        var bench = try RuleBench(strict)
        // The other side may neither open nor go on.
        #expect(bench.outcome(of: tcp(80, 5, 0x02, back: true)) == .dropped(.default))
        #expect(bench.outcome(of: tcp(5, 80, 0x10)) == .dropped(.unknownTCP))
        #expect(isForwarded(bench.outcome(of: tcp(5, 80, 0x02))))
        #expect(isForwarded(bench.outcome(of: tcp(80, 5, 0x12, back: true))))
        #expect(isForwarded(bench.outcome(of: tcp(80, 5, 0x14, back: true))))
        // Closed: a SYN from the other side is a new flow, of which nothing was forwarded.
        #expect(bench.outcome(of: tcp(80, 5, 0x02, back: true)) == .dropped(.default))
        #expect(bench.outcome(of: tcp(80, 5, 0x10, back: true)) == .dropped(.unknownTCP))
        // Idle for too long is over too.
        #expect(isForwarded(bench.outcome(of: tcp(7, 80, 0x02))))
        #expect(isForwarded(bench.outcome(of: tcp(80, 7, 0x12, back: true))))
        bench.worker.io.advance(nanoseconds: 351_000_000_000)
        #expect(bench.outcome(of: tcp(80, 7, 0x18, back: true)) == .dropped(.unknownTCP))
    }

    @Test func `new and established part the packets of UDP and ICMP too`() throws {
        var bench = try RuleBench(
            policy(
                rule("new", nil) { $0.flow = .new },
                rule("established", nil) { $0.flow = .established }))
        func udp(_ back: Bool) -> [UInt8] {
            let (a, b) = (0xC0A8_010A as UInt32, 0xC0A8_020A as UInt32)
            return PacketBuilder(
                PacketBuilder.udp4(
                    back ? 53 : 9, back ? 9 : 53, bytes("x"), source: back ? b : a,
                    destination: back ? a : b)
            ).bytes()
        }
        for back in [false, false, true, true, false] {
            #expect(isForwarded(bench.outcome(of: udp(back))))
        }
        #expect((0..<2).map { bench.snapshot.hits(rule: $0) } == [2, 3])
    }

    @Test func `a sample counts both directions, and dropped packets`() throws {
        var sample = rule("sample", .drop) { $0.sampleEvery = 3 }
        sample.match.protocols = ByteSet([6])
        var bench = try RuleBench(policy(sample))
        let fates = (0..<7).map { i in
            isForwarded(
                bench.outcome(
                    of: tcp(i % 2 == 0 ? 5 : 80, i % 2 == 0 ? 80 : 5, 0x10, back: i % 2 == 1)))
        }
        #expect(fates == [false, true, true, false, true, true, false])
        #expect(bench.snapshot.hits(rule: 0) == 3)
    }

    // ---- Fragments.

    private func fragments(_ number: UInt8 = 17) -> (first: [UInt8], later: [UInt8]) {
        let first = PacketBuilder.udp4(40_000, 53, bytes("hello!!!"), flagsAndOffset: 0x2000)
        let later = PacketBuilder.ipv4(
            protocolNumber: number, bytes("rest"), flagsAndOffset: 0x0002)
        return (PacketBuilder(first).bytes(), PacketBuilder(later).bytes())
    }

    @Test func `later fragments follow their first`() throws {
        let (first, later) = fragments()
        var bench = try RuleBench(policy(rule("dns", .drop) { $0.ports = [53...53] }))
        guard case .forwarded? = bench.outcome(of: later) else {
            Issue.record("before its first, the default")
            return
        }
        #expect(bench.outcome(of: first) == .dropped(.rule))
        #expect(bench.outcome(of: later) == .dropped(.fragment))
        guard case .forwarded? = bench.outcome(of: fragments(132).later) else {
            Issue.record("another protocol is another packet")
            return
        }
        var strict = try RuleBench(
            policy(rule("dns", .forward) { $0.ports = [53...53] }, dropsByDefault: true))
        #expect(strict.outcome(of: later) == .dropped(.default))
        guard case .forwarded? = strict.outcome(of: first),
            case .forwarded? = strict.outcome(of: later)
        else {
            Issue.record("an allowed packet passes whole")
            return
        }
    }

    /// Without ports a later fragment would fall to the next rule.
    @Test func `rules for whole packets do not part a later fragment from its first`() throws {
        let (first, later) = fragments()
        let others = rule("udp", .drop) { $0.protocols = ByteSet([17]) }
        var allowed = try RuleBench(
            policy(rule("dns", .forward) { $0.ports = [53...53] }, others))
        #expect(isForwarded(allowed.outcome(of: first)))
        #expect(isForwarded(allowed.outcome(of: later)))
        let rest = rule("udp", .forward) { $0.protocols = ByteSet([17]) }
        var dropped = try RuleBench(policy(rule("dns", .drop) { $0.ports = [53...53] }, rest))
        #expect(dropped.outcome(of: first) == .dropped(.rule))
        #expect(dropped.outcome(of: later) == .dropped(.fragment))
        var strict = try RuleBench(
            policy(rule("later", .drop) { $0.fragment = .later }, rest))
        #expect(isForwarded(strict.outcome(of: first)))
        #expect(strict.outcome(of: later) == .dropped(.rule))
    }

    /// Each fragment has a TTL and a DSCP of its own: what the first one showed says nothing of them.
    @Test func `rules on TTL and DSCP see every fragment`() throws {
        let (first, later) = fragments()
        func marked(tos: UInt8, ttl: UInt8) -> [UInt8] {
            var builder = PacketBuilder(
                PacketBuilder.ipv4(protocolNumber: 17, bytes("rest"), flagsAndOffset: 0x0002))
            builder.inner[1] = tos
            builder.inner[8] = ttl
            return builder.bytes()
        }
        let odd = marked(tos: 46 << 2, ttl: 1)
        let refusals: [(inout Match) -> Void] = [
            { $0.ttl = [0, 1] }, { $0.dscp = [46] },
            {
                var refused = Match()
                refused.ttl = ByteSet(2...255)
                $0.not = refused
            },
        ]
        for refusal in refusals {
            var bench = try RuleBench(policy(rule("odd", .drop, refusal)))
            #expect(isForwarded(bench.outcome(of: first)))
            #expect(bench.outcome(of: odd) == .dropped(.rule))
            #expect(isForwarded(bench.outcome(of: later)))
        }
    }

    @Test func `later fragments of IPv6 follow by identification`() throws {
        var bench = try RuleBench(policy(rule("dns", .drop) { $0.ports = [53...53] }))
        func fragment(_ offset: UInt16, _ more: Bool, _ id: UInt32) -> [UInt8] {
            let header = PacketBuilder.fragmentHeader(
                offset: offset, more: more, identification: id)
            return PacketBuilder(
                PacketBuilder.udp6(9, 53, bytes("12345678"), extensions: [header])
            ).bytes()
        }
        #expect(bench.outcome(of: fragment(0, true, 1)) == .dropped(.rule))
        #expect(bench.outcome(of: fragment(16, false, 1)) == .dropped(.fragment))
        guard case .forwarded? = bench.outcome(of: fragment(16, false, 2)) else {
            Issue.record("another packet")
            return
        }
    }

    @Test func `fragments can be forwarded or dropped whatever their first`() throws {
        let (first, later) = fragments()
        var base = policy(rule("dns", .drop) { $0.ports = [53...53] })
        base.fragments = .forward
        var forward = try RuleBench(base)
        #expect(forward.outcome(of: first) == .dropped(.rule))
        guard case .forwarded? = forward.outcome(of: later) else {
            Issue.record("dropped")
            return
        }
        base.fragments = .drop
        var drop = try RuleBench(base)
        #expect(drop.outcome(of: later) == .dropped(.fragment))
        base.rules.append(rule("later", .forward) { $0.fragment = .later })
        var ruled = try RuleBench(base)
        guard case .forwarded? = ruled.outcome(of: later) else {
            Issue.record("a rule comes first")
            return
        }
    }

    // ---- Snapshots.

    @Test func `a new snapshot is adopted at the next burst, and the old one goes`() throws {
        let packet = PacketBuilder(PacketBuilder.udp4(1, 2, bytes("x")))
        var bench = try RuleBench(policy())
        weak var old: PolicySnapshot?
        for generation in 0..<300 {
            old = bench.snapshot
            var set = PolicySet()
            set.main = policy(
                rule("a", generation % 2 == 0 ? .drop : .forward) {
                    $0.source = [AddressRange(isIPv6: false, address: 0xC0A8_0000, length: 16)]
                })
            var next = PathSettings()
            next.mtu = 1000 + generation
            next.allowedSources = AddressSet([(0x0A00_0000, 8)])
            try bench.publish(set, next)
            #expect(old == nil)
            #expect(bench.worker.settings.mtu == 1000 + generation)
            let outcome = bench.outcome(of: packet.bytes())
            #expect(generation % 2 == 0 ? outcome == .dropped(.rule) : outcome.isUntouched(packet))
        }
    }

    @Test func `log events carry the packet, and are few`() throws {
        var loud = rule("loud", .drop) { _ in }
        loud.isLogged = true
        var bench = try RuleBench(policy(loud))
        let packet = PacketBuilder(PacketBuilder.udp4(40_000, 53, bytes("x"))).bytes()
        for _ in 0..<1000 { #expect(bench.outcome(of: packet) == .dropped(.rule)) }
        var events: [RuleEvent] = []
        let log = EventLog(event: { events.append($0 as! RuleEvent) }, write: { _, _ in })
        #expect(bench.link.takeEvents(Rules.parts, log: log) == events.count)
        let counted = bench.worker.counters.readEvents(part: 0)
        #expect(events.count >= 1)
        #expect(counted.emitted == UInt64(events.count))
        #expect(counted.emitted + counted.lost == 1000)
        #expect(events.count <= 64)
        #expect(events[0].sourcePort == 40_000)
        #expect(events[0].destinationPort == 53)
        #expect(events[0].source.low == 0xC0A8_010A)
        #expect(bench.link.takeEvents(Rules.parts, log: log) == 0)
    }
}
