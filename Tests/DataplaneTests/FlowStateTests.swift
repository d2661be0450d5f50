import Dataplane
import RuleEngine
import SluiceTesting
import Testing
import Wire

/// What a packet is to its flow, for fragments and ICMP, whose packets share an entry of the flow
/// table with much that has nothing to do with them.
@Suite("Flow states")
struct FlowStateTests {
    private static let inside: UInt32 = 0xC0A8_010A
    private static let outside: UInt32 = 0xC0A8_020A
    private static let router: UInt32 = 0xC0A8_0301

    /// Everything from inside goes; what comes from outside goes when it is one of `states`.
    private func stateful(
        _ states: Match.Flow, addresses: Bool = false
    ) throws -> RuleBench {
        var set = PolicySet()
        set.main.dropsByDefault = true
        var out = Rule("out")
        out.match.source = [AddressRange(isIPv6: false, address: UInt128(Self.inside), length: 32)]
        out.terminal = .forward
        var back = Rule("back")
        back.match.flow = states
        back.terminal = .forward
        set.main.rules = [out, back]
        var settings = PathSettings()
        settings.fragmentsMeetFlows = addresses
        return try RuleBench(set, settings)
    }

    private func tcp(
        _ source: UInt16, _ destination: UInt16, _ flags: UInt8, back: Bool = false,
        flagsAndOffset: UInt16 = 0
    ) -> [UInt8] {
        var packet = PacketBuilder.tcp4(
            source, destination, [UInt8](repeating: 7, count: 24), flags: flags,
            source: back ? Self.outside : Self.inside,
            destination: back ? Self.inside : Self.outside)
        packet.replaceSubrange(6..<8, with: bigEndian(flagsAndOffset))
        return packet
    }

    /// An ICMP packet from outside, or from a router on the way.
    private func icmp(
        _ type: UInt8, code: UInt8 = 0, _ body: [UInt8] = [0, 7, 0, 1],
        from source: UInt32 = outside,
        to destination: UInt32 = inside
    ) -> [UInt8] {
        PacketBuilder.ipv4(
            source: source, destination: destination, protocolNumber: 1, [type, code, 0, 0] + body)
    }

    private func error(_ type: UInt8, _ code: UInt8, about packet: [UInt8]) -> [UInt8] {
        icmp(type, code: code, [0, 0, 5, 0] + packet.prefix(28), from: Self.router)
    }

    private func passes(_ inner: [UInt8], _ bench: inout RuleBench) -> Bool {
        if case .forwarded? = bench.outcome(of: PacketBuilder(inner).bytes()) { return true }
        return false
    }

    @Test func `a fragment outwards opens no port inwards for fragments`() throws {
        var bench = try stateful(.established)
        #expect(passes(tcp(5, 80, 0x10, flagsAndOffset: 0x2000), &bench))
        #expect(!passes(tcp(22, 6000, 0x10, back: true, flagsAndOffset: 0x2000), &bench))
        #expect(!passes(tcp(80, 5, 0x10, back: true, flagsAndOffset: 0x2000), &bench))
    }

    @Test func `steered by addresses a first fragment belongs to the flow of its ports`() throws {
        var bench = try stateful(.established, addresses: true)
        #expect(passes(tcp(5, 80, 0x02), &bench))
        #expect(passes(tcp(80, 5, 0x12, back: true, flagsAndOffset: 0x2000), &bench))
        #expect(!passes(tcp(80, 6, 0x12, back: true, flagsAndOffset: 0x2000), &bench))
    }

    @Test func `a ping lets its reply in, and nothing else`() throws {
        var bench = try stateful([.established, .related])
        #expect(passes(icmp(8, from: Self.inside, to: Self.outside), &bench))
        #expect(passes(icmp(0), &bench))
        for type in 1...UInt8.max where ![14, 16, 18].contains(type) {
            #expect(!passes(icmp(type), &bench), "type \(type)")
        }
    }

    @Test func `an error about a packet that was forwarded is related`() throws {
        let syn = tcp(5, 80, 0x02)
        var bench = try stateful([.established, .related])
        #expect(!passes(error(3, 4, about: syn), &bench), "before the flow is there")
        #expect(passes(syn, &bench))
        #expect(passes(error(3, 4, about: syn), &bench), "fragmentation needed")
        #expect(passes(error(11, 0, about: syn), &bench), "time exceeded")
        #expect(!passes(error(5, 1, about: syn), &bench), "a redirect")
        #expect(!passes(error(3, 4, about: tcp(6, 80, 0x02)), &bench), "another port")
        let answer = tcp(80, 5, 0x12, back: true)
        #expect(passes(answer, &bench))
        #expect(!passes(error(3, 4, about: answer), &bench), "not to where the packet came from")
        #expect(!passes(error(3, 4, about: Array(syn.prefix(22))), &bench), "cut off")
    }

    @Test func `established alone does not include errors`() throws {
        var bench = try stateful(.established)
        #expect(passes(tcp(5, 80, 0x02), &bench))
        #expect(!passes(error(3, 4, about: tcp(5, 80, 0x02)), &bench))
    }

    @Test func `an error about a packet that was dropped is not related`() throws {
        var bench = try stateful(.related)
        let syn = tcp(80, 5, 0x02, back: true)
        #expect(!passes(syn, &bench))
        let error = icmp(
            3, code: 4, [0, 0, 5, 0] + syn.prefix(28), from: Self.router, to: Self.outside)
        #expect(!passes(error, &bench))
    }

    @Test func `packet too big is related to a flow of IPv6`() throws {
        var set = PolicySet()
        set.main.dropsByDefault = true
        var out = Rule("out")
        out.match.protocols = ByteSet([17])
        out.terminal = .forward
        var back = Rule("back")
        back.match.flow = .related
        back.terminal = .forward
        set.main.rules = [out, back]
        var bench = try RuleBench(set)
        let sent = PacketBuilder.udp6(40_000, 53, [UInt8](repeating: 1, count: 64))
        func tooBig(_ quoted: [UInt8]) -> [UInt8] {
            PacketBuilder.ipv6(
                source: PacketBuilder.address6(9), destination: Array(quoted[8..<24]),
                nextHeader: 58,
                [2, 0, 0, 0, 0, 0, 5, 0] + quoted)
        }
        #expect(!passes(tooBig(sent), &bench))
        #expect(passes(sent, &bench))
        #expect(passes(tooBig(sent), &bench))
        #expect(!passes(tooBig(PacketBuilder.udp6(40_001, 53, [1])), &bench))
    }

    @Test func `TCP in mid-flow is a first fragment too, and a SYN with FIN or RST`()
        throws
    {
        var set = PolicySet()
        set.main.dropsUnknownTCP = true
        var bench = try RuleBench(set)
        for flags in [0x03, 0x06, 0x07, 0x10] as [UInt8] {
            #expect(!passes(tcp(5, 80, flags), &bench))
            #expect(!passes(tcp(5, 80, flags, flagsAndOffset: 0x2000), &bench))
        }
        #expect(!passes(tcp(5, 80, 0x10), &bench), "they opened nothing")
        var later = tcp(5, 80, 0x10, flagsAndOffset: 0x0008)
        later[5] = 9
        #expect(passes(later, &bench))
        #expect(!passes(tcp(5, 80, 0x10, flagsAndOffset: 0x2000), &bench), "nor did a later one")
        #expect(passes(tcp(5, 80, 0x02, flagsAndOffset: 0x2000), &bench))
    }

    @Test func `FIN and RST that a rule drops end nothing`() throws {
        for flags in [0x04, 0x11] as [UInt8] {
            var set = PolicySet()
            var drop = Rule("drop")
            drop.match.source = [
                AddressRange(isIPv6: false, address: UInt128(Self.outside), length: 32)
            ]
            drop.match.tcpFlags = Match.TCPFlags(set: flags)
            drop.terminal = .drop
            set.main.rules = [drop]
            var bench = try RuleBench(set)
            #expect(passes(tcp(5, 80, 0x02), &bench))
            #expect(passes(tcp(80, 5, 0x12, back: true), &bench))
            #expect(passes(tcp(5, 80, 0x11), &bench), "one side has finished")
            #expect(!passes(tcp(80, 5, flags, back: true), &bench))
            // A closed flow would be over after a few seconds, a half-closed one is not.
            bench.worker.io.advance(nanoseconds: 30_000_000_000)
            let before = bench.worker.counters.read(.flowsCreated)
            #expect(passes(tcp(80, 5, 0x10, back: true), &bench))
            #expect(bench.worker.counters.read(.flowsCreated) == before)
        }
    }
}
