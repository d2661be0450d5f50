import Dataplane
import PacketIO
import SluiceTesting
import Testing
import Wire

/// What a processor reads of a packet, copied out.
struct Reading: Equatable {
    var version: UInt8 = 4
    var protocolNumber: UInt8 = 17
    var ports: [UInt16] = [0, 0]
    var source = IPv6Address(0, 0xC0A8_010A)
    var destination = IPv6Address(0, 0xC0A8_020A)
    var endpoint: UInt64 = 0x2356_de92_d389_839c
    var isFragment = false
    var isLaterFragment = false
    var tcpFlags: UInt8 = 0
    var length = 0
    var payload: [UInt8] = []
    var icmp: ICMPHeader?
}

/// Reads everything that a processor can read, through the public interface alone.
struct Reader: PacketProcessor {
    var readings: [Reading] = []

    init(configuration: NoConfiguration, worker: Int) {}

    mutating func process(
        _ packet: inout Packet, flow: inout NoFlowState, context: inout Context
    ) -> Verdict {
        readings.append(
            Reading(
                version: packet.version, protocolNumber: packet.protocolNumber,
                ports: [packet.sourcePort, packet.destinationPort], source: packet.source,
                destination: packet.destination, endpoint: packet.endpoint,
                isFragment: packet.isFragment, isLaterFragment: packet.isLaterFragment,
                tcpFlags: packet.tcpFlags, length: packet.length,
                payload: (0..<packet.payloadLength).map { packet.payloadByte($0) },
                icmp: packet.icmp))
        return .forward
    }
}

@Suite("What a processor reads")
struct PacketReaderTests {
    private func read(_ inner: [UInt8]) throws -> Reading {
        var bench = try Bench(Reader.self)
        #expect(bench.outcome(of: PacketBuilder(inner).bytes()) != nil)
        return try #require(bench.worker.processor.readings.first)
    }

    private static let six = (
        one: IPv6Address(0xfd00 << 48, 1), two: IPv6Address(0xfd00 << 48, 2)
    )

    @Test func `UDP over IPv4`() throws {
        #expect(
            try read(PacketBuilder.udp4(1234, 80, [1, 2, 3], options: [1, 1, 1, 1]))
                == Reading(ports: [1234, 80], length: 35, payload: [1, 2, 3]))
    }

    @Test func `UDP over IPv6 with extension headers`() throws {
        let chain = [0, 43, 60].map { PacketBuilder.extensionHeader($0, units: 1) }
        #expect(
            try read(PacketBuilder.udp6(1234, 80, [1, 2, 3], extensions: chain))
                == Reading(
                    version: 6, ports: [1234, 80], source: Self.six.one,
                    destination: Self.six.two, length: 40 + 48 + 8 + 3, payload: [1, 2, 3]))
    }

    @Test func `TCP with its flags`() throws {
        #expect(
            try read(PacketBuilder.tcp4(1, 2, [9], flags: 0xC2))
                == Reading(
                    protocolNumber: 6, ports: [1, 2], tcpFlags: 0xC2, length: 41, payload: [9]))
    }

    @Test func `ICMP and ICMPv6`() throws {
        let four = try read(PacketBuilder.icmp4(type: 8, code: 3, identifier: 7, sequence: 9, []))
        #expect(four.icmp.map { [$0.type, $0.code] } == [8, 3])
        #expect(four.icmp.map { [$0.identifier, $0.sequence] } == [7, 9])
        #expect(four.payload.isEmpty && four.ports == [0, 0])
        let six = try read(PacketBuilder.icmp6(type: 129, identifier: 7, sequence: 9))
        #expect(six.icmp.map { [$0.identifier, $0.sequence] } == [7, 9])
        let crossed = try read(PacketBuilder.ipv4(protocolNumber: 58, [8, 0, 0, 0, 0, 0, 0, 0]))
        #expect(crossed.icmp == nil)
    }

    @Test func `fragments: the first has ports, later ones have none`() throws {
        #expect(
            try read(PacketBuilder.udp4(1, 2, [5], flagsAndOffset: 0x2000))
                == Reading(ports: [1, 2], isFragment: true, length: 29, payload: [5]))
        #expect(
            try read(PacketBuilder.ipv4(protocolNumber: 17, [1, 2, 3], flagsAndOffset: 1))
                == Reading(isFragment: true, isLaterFragment: true, length: 23))
    }

    @Test func `headers that lie about their length have no payload`() throws {
        var tcp = PacketBuilder.tcp4(1, 2, [5, 6, 7])
        for words in [0, 4, 6, 15] as [UInt8] {
            tcp[32] = words << 4
            #expect(
                try read(tcp)
                    == Reading(protocolNumber: 6, ports: [1, 2], tcpFlags: 0x18, length: 43))
        }
        var udp = PacketBuilder.udp4(1, 2, [5, 6, 7])
        for length in [0, 7, 12, 0xFFFF] as [UInt16] {
            udp.replaceSubrange(24..<26, with: bigEndian(length))
            #expect(try read(udp) == Reading(ports: [1, 2], length: 31))
        }
    }

    @Test func `searching looks at the payload and nothing else`() throws {
        struct Searcher: PacketProcessor {
            var found: [Int?] = []
            init(configuration: NoConfiguration, worker: Int) {}
            mutating func process(
                _ packet: inout Packet, flow: inout NoFlowState,
                context: inout Context
            ) -> Verdict {
                found.append(packet.firstIndex(of: Needle("ab")))
                return packet.contains(Needle("ab")) ? .drop(.processor) : .forward
            }
        }
        var bench = try Bench(Searcher.self)
        for (text, index) in [("ab", 0), ("xxxab ab", 3), ("a", nil), ("", nil), ("ba", nil)]
            as [(String, Int?)]
        {
            let packet = PacketBuilder(PacketBuilder.udp4(0x6162, 0x6162, bytes(text)))
            let outcome = bench.outcome(of: packet.bytes())
            #expect(outcome == (index == nil ? answer(to: packet) : .dropped(.processor)))
            #expect(bench.worker.processor.found.last == index)
        }
    }

    /// The needle search works on 16 bytes at a time: every length and place around that.
    @Test func `a needle is found at every place of every payload`() throws {
        struct Finder: PacketProcessor {
            var index: Int?
            init(configuration: NoConfiguration, worker: Int) {}
            mutating func process(
                _ packet: inout Packet, flow: inout NoFlowState,
                context: inout Context
            ) -> Verdict {
                index = packet.firstIndex(of: Needle("drop me"))
                return .forward
            }
        }
        var bench = try Bench(Finder.self, io: MemoryIO(placement: .exact(growth: 0)))
        for length in 7...48 {
            for at in 0...(length - 7) {
                var text = [UInt8](repeating: 0x64, count: length)  // "ddd…": first byte matches
                text.replaceSubrange(at..<at + 7, with: bytes("drop me"))
                _ = bench.outcome(of: PacketBuilder(PacketBuilder.udp4(1, 2, text)).bytes())
                #expect(bench.worker.processor.index == at)
            }
        }
    }
}

/// Replaces one string by another, chosen by index, or two in a row.
struct Replacer: PacketProcessor {
    static let pairs: [(old: StaticString, new: StaticString)] = [
        ("ab", "X"), ("ab", "abab"), ("a", ""), ("aa", "bb"), ("abc", "cb"), ("b", "bbbbb"),
        ("ab", "ba"),
    ]

    var chosen: [Int] = [0]
    var outcomes: [ReplaceOutcome] = []

    init(configuration: NoConfiguration, worker: Int) {}

    mutating func process(
        _ packet: inout Packet, flow: inout NoFlowState, context: inout Context
    ) -> Verdict {
        for index in chosen {
            let pair = Replacer.pairs[index]
            let outcome = packet.replaceAll(Needle(pair.old), with: Needle(pair.new))
            outcomes.append(outcome)
            if case .refused(let reason) = outcome { return .drop(reason) }
        }
        return .forward
    }

    /// The same, on a string.
    static func expected(_ text: String, _ chosen: [Int]) -> String {
        chosen.reduce(text) { $0.replacing("\(pairs[$1].old)", with: "\(pairs[$1].new)") }
    }
}

@Suite("What a processor changes")
struct PacketReplaceTests {
    private static func text(using random: inout SeededGenerator) -> String {
        String(
            (0..<Int.random(in: 0...40, using: &random)).map { _ in
                "abc".randomElement(using: &random)!
            })
    }

    /// Growing, shrinking and equal replacements, one or two in a row, over random texts of three
    /// letters, so that occurrences touch and overlap.
    @Test(arguments: [false, true])
    func `replacing equals replacing in a string, with right lengths and checksums`(
        isV6: Bool
    ) throws {
        var random = SeededGenerator(seed: isV6 ? 6 : 4)
        var bench = try Bench(Replacer.self)
        for _ in 0..<600 {
            let text = Self.text(using: &random)
            let chosen = (0..<Int.random(in: 1...2, using: &random)).map { _ in
                Replacer.pairs.indices.randomElement(using: &random)!
            }
            bench.worker.processor.chosen = chosen
            let packet = PacketBuilder(BlogPolicyTests.chat(bytes(text), isV6: isV6))
            let expected = BlogPolicyTests.chat(
                bytes(Replacer.expected(text, chosen)), isV6: isV6)
            #expect(
                bench.outcome(of: packet.bytes()) == answer(to: packet, expected),
                "\(text) \(chosen)")
        }
    }

    @Test func `TCP takes replacements of the same length only`() throws {
        var bench = try Bench(Replacer.self)
        let packet = PacketBuilder(PacketBuilder.tcp4(1, 2, bytes("xaay")))
        bench.worker.processor.chosen = [2, 3]
        #expect(
            bench.outcome(of: packet.bytes())
                == answer(to: packet, PacketBuilder.tcp4(1, 2, bytes("xbby"))))
        #expect(bench.worker.processor.outcomes == [.absent, .replaced(1)])
    }

    @Test func `the number of occurrences is told`() throws {
        var bench = try Bench(Replacer.self)
        for (text, outcome) in [("abab ab", .replaced(3)), ("ba", .absent), ("", .absent)]
            as [(String, ReplaceOutcome)]
        {
            _ = bench.outcome(of: BlogPolicyTests.packet(text).bytes())
            #expect(bench.worker.processor.outcomes.last == outcome)
        }
    }

    @Test func `fragments and opaque packets are left alone`() throws {
        var bench = try Bench(Replacer.self)
        let udp = Array(PacketBuilder.udp4(1, 2, bytes("ab"))[20...])
        for inner in [
            PacketBuilder.ipv4(protocolNumber: 17, udp, flagsAndOffset: 0x2000),
            PacketBuilder.ipv4(protocolNumber: 17, udp, flagsAndOffset: 0x0001),
            PacketBuilder.ipv4(protocolNumber: 136, udp),
            PacketBuilder.icmp4(type: 8, sequence: 1, bytes("ab")),
        ] {
            let packet = PacketBuilder(inner)
            #expect(bench.outcome(of: packet.bytes()).isUntouched(packet))
        }
        #expect(bench.worker.processor.outcomes == [.absent, .absent, .absent, .absent])
    }

    @Test func `a refused replacement leaves the packet as it was`() throws {
        var bench = try Bench(Replacer.self, settings { $0.mtu = 32 })
        bench.worker.processor.chosen = [1]
        let packet = BlogPolicyTests.packet("ab ab").bytes()
        #expect(bench.outcome(of: packet) == .dropped(.tooBig))
        let frame = bench.worker.io.frames[0]
        let bytes = UnsafeRawBufferPointer(start: frame.base, count: Int(frame.length))
        #expect(Array(bytes) == packet)
        #expect(bench.counters.read(.packetsRewritten) == 0)
    }
}

/// Counts the packets of each flow, in both directions, and remembers what it was told.
struct FlowCounter: PacketProcessor {
    static let newFlow: UInt64 = 100
    static let ruleNames = ["odd"]

    var states: [UInt64] = []
    var times: [UInt64] = []
    var isTracked = true

    init(configuration: NoConfiguration, worker: Int) {}

    mutating func process(
        _ packet: inout Packet, flow: inout UInt64, context: inout Context
    ) -> Verdict {
        flow += 1
        states.append(flow)
        times.append(context.now)
        isTracked = isTracked && context.flowIsTracked && context.worker == 0
        guard flow % 2 == 1 else { return .forward }
        context.hit(rule: 0)
        return .drop(.processor)
    }
}

@Suite("A processor of the user's own")
struct ProcessorTests {
    @Test func `it keeps a state per flow and drops with its own reason`() throws {
        var bench = try Bench(FlowCounter.self)
        let (a, b) = (
            PacketBuilder(PacketBuilder.tcp4(1, 2, [])), PacketBuilder(PacketBuilder.tcp4(1, 3, []))
        )
        for packet in [a, b, a, a, b] { bench.worker.io.enqueue(packet.bytes()) }
        bench.runDry()
        #expect(bench.worker.processor.states == [101, 101, 102, 103, 102])
        #expect(bench.worker.processor.isTracked)
        #expect(bench.counters.read(.processor) == 3)
        #expect(bench.counters.readRule(0) == 3)
    }

    @Test func `time is the burst's, the same for all its packets`() throws {
        var bench = try Bench(FlowCounter.self, io: MemoryIO(burst: 3))
        bench.worker.io.tick = 10
        let start = bench.worker.io.clock
        bench.enqueue(WorkerTests.packets(5))
        bench.runDry()
        let expected = [10, 10, 10, 20, 20].map { start + $0 }
        #expect(bench.worker.processor.times == expected)
    }

    @Test func `passing through forwards what any policy would drop`() throws {
        var bench = try Bench(PassThrough.self)
        for inner in [
            BlogPolicyTests.chat(bytes("drop me")), BlogPolicyTests.chat(bytes("weakly typed")),
            PacketBuilder.icmp4(type: 8, sequence: 5),
        ] {
            let packet = PacketBuilder(inner)
            #expect(bench.outcome(of: packet.bytes()).isUntouched(packet))
        }
    }
}
