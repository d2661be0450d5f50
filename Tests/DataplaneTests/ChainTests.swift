import PacketIO
import SluiceTesting
import Testing
import Wire

@testable import Dataplane
@testable import RuleEngine

/// Drops what goes to one port; counts, remembers and tells everything.
private struct PortGuard: PacketProcessor {
    struct Configuration: Decodable, Sendable { var port: UInt16 }
    enum Counter: CaseIterable { case seen, stopped }
    struct Event: BitwiseCopyable { var number: UInt64 }

    var configuration: Configuration
    var adoptions = 0
    var flows: [UInt64] = []
    var tracked: [Bool] = []

    init(configuration: Configuration, worker: Int) { self.configuration = configuration }

    static func validate(_ configuration: Configuration) throws {
        guard configuration.port > 0 else { throw ConfigurationError("no port", key: "port") }
    }

    static func handle(_ event: Event, log: EventLog) { log.info("guard \(event.number)") }

    mutating func adopt(_ configuration: Configuration) {
        self.configuration = configuration
        adoptions += 1
    }

    mutating func process(
        _ packet: inout Packet, flow: inout UInt64, context: inout Context
    ) -> Verdict {
        flow += 1
        flows.append(flow)
        tracked.append(context.flowIsTracked)
        context.count(.seen)
        context.emit(Event(number: flow))
        guard packet.destinationPort == configuration.port else { return .forward }
        context.count(.stopped, 2)
        return .drop
    }
}

/// Writes "!" over the first byte of every payload, and hits a rule.
private struct Marker: PacketProcessor {
    static let ruleNames = ["first", "marked"]
    enum Counter: CaseIterable { case marked }
    struct Event: BitwiseCopyable { var wide: (UInt64, UInt64, UInt64, UInt64, UInt8) }

    init(configuration: NoConfiguration, worker: Int) {}

    static func handle(_ event: Event, log: EventLog) { log.warning("marker \(event.wide.4)") }

    mutating func process(
        _ packet: inout Packet, flow: inout UInt8, context: inout Context
    ) -> Verdict {
        flow &+= 1
        guard packet.payloadLength > 0 else { return .forward }
        context.emit(Event(wide: (1, 2, 3, 4, flow)))
        guard packet.replace(0..<1, with: "!") else { return .drop(.tooBig) }
        context.count(.marked)
        context.hit(rule: 1)
        return .forward
    }
}

private func forwarded(_ bytes: [UInt8]?) -> Outcome? { bytes.map { Outcome.forwarded($0) } }

@Suite("Chains")
struct ChainTests {
    private typealias Pair = Chain<PortGuard, Marker>
    private typealias Triple = Chain<Pair, Chain<Marker, Rules>>

    private func packet(_ port: UInt16, _ text: String = "hello") -> PacketBuilder {
        PacketBuilder(PacketBuilder.udp4(40_000, port, bytes(text)))
    }

    private func count(
        _ worker: borrowing Worker<MemoryIO, some PacketProcessor & ~Copyable>,
        _ parts: [ProcessorPart], _ part: Int, _ name: String
    ) -> UInt64 {
        let slot = parts[part].counters.first { $0.name == name }!.slot
        return worker.counters.read(part: part, slot: slot)
    }

    @Test func `a drop of the first is final, what it forwards goes on`() throws {
        var bench = try ProcessorBench(
            Pair.self,
            configuration: ChainConfiguration(
                first: .init(port: 53), second: NoConfiguration()))
        #expect(bench.send(packet(53)) == nil)
        let sent = bench.send(packet(54))
        #expect(
            forwarded(sent)
                == answer(
                    to: packet(54), PacketBuilder.udp4(40_000, 54, bytes("!ello"))))
        #expect(bench.worker.counters.read(.processor) == 1)
        #expect(bench.worker.counters.read(.packetsRewritten) == 1)
        let parts = Pair.parts
        #expect(count(bench.worker, parts, 0, "seen") == 2)
        #expect(count(bench.worker, parts, 0, "stopped") == 2)
        #expect(count(bench.worker, parts, 1, "marked") == 1)
        #expect((0..<2).map { bench.worker.counters.readRule($0) } == [0, 1])
        // The second part's state of the first flow never moved: its packet did not get there.
        #expect(bench.handleEvents() == ["guard 1", "guard 1", "marker 1"])
    }

    @Test func `both keep their own state of a flow`() throws {
        var bench = try ProcessorBench(
            Pair.self,
            configuration: ChainConfiguration(first: .init(port: 9), second: NoConfiguration()))
        for _ in 0..<3 { #expect(bench.send(packet(54)) != nil) }
        #expect(bench.worker.processor.first.flows == [1, 2, 3])
        #expect(bench.worker.processor.first.tracked == [true, true, true])
        #expect(
            bench.handleEvents() == [
                "guard 1", "marker 1", "guard 2", "marker 2", "guard 3", "marker 3",
            ])
    }

    @Test func `chains of chains count and emit part by part, rules come last`() throws {
        var set = PolicySet()
        set.main = policy(rule("exclaimed", .drop) { $0.payload = Match.Payload([bytes("!o")]) })
        let rules = try PolicySnapshot(set, generation: 1, workers: 1)
        var bench = try ProcessorBench(
            Triple.self,
            configuration: ChainConfiguration(
                first: .init(first: .init(port: 53), second: NoConfiguration()),
                second: .init(first: NoConfiguration(), second: .init(rules))))
        #expect(
            Triple.parts.map { $0.counters.map(\.name) } == [
                ["seen", "stopped"], ["marked"], ["marked"], [],
            ])
        #expect(Triple.parts.map(\.decidesByPolicy) == [false, false, false, true])
        #expect(Triple.ruleNames == ["first", "marked", "first", "marked"])
        #expect(bench.send(packet(80, "xo")) == nil, "rules see what the first has changed")
        #expect(bench.send(packet(80, "xx")) != nil)
        #expect(bench.worker.counters.read(.rule) == 1)
        #expect(rules.hits(rule: 0) == 1)
        #expect((0..<4).map { bench.worker.counters.readRule($0) } == [0, 2, 0, 2])
        #expect((0..<4).map { bench.worker.counters.readEvents(part: $0).emitted } == [2, 2, 2, 0])
    }

    @Test func `what nobody takes is lost and counted, and order is kept`() throws {
        var bench = try ProcessorBench(PortGuard.self, configuration: .init(port: 1))
        let extra = 10
        for _ in 0..<WorkerLink.capacity + extra { #expect(bench.send(packet(2)) != nil) }
        #expect(bench.lostEvents == UInt64(extra))
        let lines = bench.handleEvents()
        #expect(lines == (1...WorkerLink.capacity).map { "guard \($0)" })
        #expect(bench.handleEvents() == [])
        // There is room again.
        #expect(bench.send(packet(2)) != nil)
        #expect(bench.handleEvents() == ["guard \(WorkerLink.capacity + extra + 1)"])
        #expect(bench.lostEvents == UInt64(extra))
        #expect(bench.count(of: .seen) == UInt64(WorkerLink.capacity + extra + 1))
    }

    @Test func `a configuration is adopted once, at the start of a burst`() throws {
        var bench = try ProcessorBench(PortGuard.self, configuration: .init(port: 53))
        #expect(bench.send(packet(53)) == nil)
        #expect(bench.worker.processor.adoptions == 0)
        try bench.reload(.init(port: 54))
        #expect(bench.send(packet(53)) != nil)
        #expect(bench.send(packet(54)) == nil)
        #expect(bench.worker.processor.adoptions == 1)
        #expect(throws: ConfigurationError.self) { try bench.reload(.init(port: 0)) }
        #expect(bench.send(packet(54)) == nil)
        #expect(bench.worker.processor.adoptions == 1)
    }

    @Test func `both parts of a chain adopt and validate`() throws {
        typealias Configuration = Chain<PortGuard, PortGuard>.Configuration
        var bench = try ProcessorBench(
            Chain<PortGuard, PortGuard>.self,
            configuration: .init(first: .init(port: 1), second: .init(port: 2)))
        #expect(bench.send(packet(1)) == nil)
        #expect(bench.send(packet(2)) == nil)
        try bench.reload(.init(first: .init(port: 3), second: .init(port: 4)))
        for port: UInt16 in [3, 4] { #expect(bench.send(packet(port)) == nil) }
        for port: UInt16 in [1, 2] { #expect(bench.send(packet(port)) != nil) }
        for wrong: Configuration in [
            .init(first: .init(port: 0), second: .init(port: 1)),
            .init(first: .init(port: 1), second: .init(port: 0)),
        ] {
            #expect(throws: ConfigurationError.self) { try bench.reload(wrong) }
        }
    }

    @Test func `an untracked flow is said to be one, in every part`() throws {
        let link = try WorkerLink(Pair.self)
        defer { link.free() }
        let context = ProcessorContext<Pair>(
            now: 1, worker: 2, flowIsTracked: false, counters: try CounterBlock(Pair.self),
            link: link)
        let second = context.of(Marker.self, part: 1, firstRule: 0)
        let seen = (context.flowIsTracked, second.flowIsTracked, second.now, second.worker)
        #expect(seen == (false, false, 1, 2))
    }

    @Test func `log lines have no control characters`() {
        var lines: [String] = []
        let log = EventLog { line, isWarning in lines.append("\(isWarning) \(line)") }
        log.info("a\nb\u{1B}[31mc\u{202E}d ü")
        log.warning("x\u{7F}")
        #expect(lines == ["false a\\nb\\u{1B}[31mc\\u{202E}d ü", "true x\\u{7F}"])
    }
}

@Suite("Replacing a range of the payload")
struct ReplaceRangeTests {
    /// Replaces a range by a text of its configuration.
    struct Replacer: PacketProcessor {
        struct Configuration: Decodable, Sendable {
            var start: Int
            var end: Int
            var bytes: [UInt8]
        }
        let configuration: Configuration
        init(configuration: Configuration, worker: Int) { self.configuration = configuration }

        mutating func process(
            _ packet: inout Packet, flow: inout NoFlowState, context: inout Context
        ) -> Verdict {
            let range = configuration.start..<configuration.end
            let before = packet.payloadLength
            guard packet.replace(range, with: configuration.bytes.span) else { return .drop }
            precondition(packet.payloadLength == before - range.count + configuration.bytes.count)
            return .forward
        }
    }

    /// The answer, every length and checksum made anew, for any place and any size.
    @Test func `UDP of either version grows and shrinks at any place`() throws {
        let text = bytes("The quick brown fox.")
        for isV6 in [false, true] {
            for (start, end) in [(0, 0), (0, 3), (4, 9), (5, 6), (19, 20), (20, 20), (0, 20)] {
                for count in [0, 1, 2, 5, 40] {
                    let new = (0..<count).map { UInt8(65 + $0) }
                    func inner(_ payload: [UInt8]) -> [UInt8] {
                        isV6
                            ? PacketBuilder.udp6(1, 2, payload) : PacketBuilder.udp4(1, 2, payload)
                    }
                    let packet = PacketBuilder(inner(text))
                    var bench = try ProcessorBench(
                        Replacer.self, configuration: .init(start: start, end: end, bytes: new))
                    let wanted = answer(to: packet, inner(text[..<start] + new + text[end...]))
                    let sent = bench.send(packet)
                    #expect(
                        forwarded(sent) == wanted, "\(isV6) \(start) \(end) \(count)")
                }
            }
        }
    }

    @Test func `TCP keeps its length, fragments and damaged packets keep their bytes`() throws {
        func result(_ packet: PacketBuilder, _ new: String, mtu: Int = 8500) throws -> [UInt8]? {
            var settings = PathSettings()
            settings.mtu = mtu
            var bench = try ProcessorBench(
                Replacer.self, configuration: .init(start: 0, end: 2, bytes: bytes(new)),
                settings: settings)
            return bench.send(packet)
        }
        let tcp = PacketBuilder(PacketBuilder.tcp4(1, 2, bytes("hello")))
        #expect(try result(tcp, "xyz") == nil)
        let same = try result(tcp, "ab")
        #expect(
            forwarded(same)
                == answer(to: tcp, PacketBuilder.tcp4(1, 2, bytes("abllo"))))
        let udp = PacketBuilder(PacketBuilder.udp4(1, 2, bytes("hello")))
        #expect(try result(udp, "abc", mtu: 33) == nil)
        #expect(try result(udp, "abc", mtu: 34) != nil)
        var damaged = udp
        damaged.inner[10] ^= 1
        #expect(try result(damaged, "ab") == nil)
    }
}

@Suite("Readers of payloads")
struct PayloadReaderTests {
    /// Reads everything there is in every way.
    struct Reader: PacketProcessor {
        var texts: [String?] = []
        var numbers: [UInt64?] = []
        var spans: [[UInt8]] = []

        init(configuration: NoConfiguration, worker: Int) {}

        mutating func process(
            _ packet: inout Packet, flow: inout NoFlowState, context: inout Context
        ) -> Verdict {
            var reader = packet.payloadReader
            numbers = [
                reader.u8().map { UInt64($0) }, reader.u16().map { UInt64($0) },
                reader.u32().map { UInt64($0) },
            ]
            numbers.append(reader.skip(1) ? 1 : 0)
            texts = [reader.text(3).map { "\($0)" }, reader.text(1000).map { "\($0)" }]
            numbers.append(reader.skip(1000) ? 1 : 0)
            numbers.append(UInt64(reader.remaining))
            let payload = packet.payload
            spans.append((0..<payload.count).map { payload[$0] })
            return .forward
        }
    }

    @Test func `they stop at the end`() throws {
        let payload: [UInt8] = [1, 2, 3, 4, 5, 6, 7, 8] + bytes("abcd")
        let wanted: [(count: Int, numbers: [UInt64?], texts: [String?])] = [
            (12, [1, 0x0203, 0x0405_0607, 1, 0, 1], ["abc", nil]),
            (10, [1, 0x0203, 0x0405_0607, 1, 0, 2], [nil, nil]),
            (5, [1, 0x0203, nil, 1, 0, 1], [nil, nil]),
            (0, [nil, nil, nil, 0, 0, 0], [nil, nil]),
        ]
        for (count, numbers, texts) in wanted {
            var bench = try ProcessorBench(Reader.self, configuration: NoConfiguration())
            let part = Array(payload.prefix(count))
            _ = bench.send(PacketBuilder(PacketBuilder.udp4(1, 2, part)))
            #expect(bench.worker.processor.numbers == numbers)
            #expect(bench.worker.processor.texts == texts)
            #expect(bench.worker.processor.spans == [part])
        }
    }

    @Test func `text is at most 255 bytes, and what is not UTF-8 is replaced`() {
        var text = InlineText()
        for i in 0..<300 { #expect(text.append(i == 0 ? 0xFF : 97) == (i < 255)) }
        #expect("\(text)" == "\u{FFFD}" + String(repeating: "a", count: 254))
    }

    @Test(arguments: [
        (IPAddress(version: 4, IPv6Address(0, 0xC000_0201)), "192.0.2.1"),
        (IPAddress(version: 6, IPv6Address(0, 0)), "::"),
        (IPAddress(version: 6, IPv6Address(0, 1)), "::1"),
        (IPAddress(version: 6, IPv6Address(0x2001_0DB8_0000_0000, 1)), "2001:db8::1"),
        (
            IPAddress(version: 6, IPv6Address(0x2001_0DB8_0000_0001, 0x0001_0001_0001_0001)),
            "2001:db8:0:1:1:1:1:1"
        ),
        (
            IPAddress(version: 6, IPv6Address(0x2001_0000_0000_0001, 0x0000_0000_0000_0001)),
            "2001:0:0:1::1"
        ),
        (
            IPAddress(version: 6, IPv6Address(0x2001_0DB8_0000_0000, 0x0001_0000_0000_0001)),
            "2001:db8::1:0:0:1"
        ),
        (
            IPAddress(version: 6, IPv6Address(0x0001_0002_0003_0004, 0x0005_0006_0000_0000)),
            "1:2:3:4:5:6::"
        ),
    ])
    func `addresses are written as RFC 5952 asks`(address: IPAddress, text: String) {
        #expect("\(address)" == text)
    }
}
