import Dataplane
import PacketIO
import SluiceTesting
import Testing

@Suite("Packet loop")
struct PacketLoopTests {
    @Test(
        "a packet from ourselves is dropped, or it would circle for ever",
        arguments: [0x0A4D_0002, 0x7F00_0001] as [UInt32])
    func ownAddress(source: UInt32) throws {
        var bench = try Bench()
        var builder = PacketBuilder(PacketBuilder.udp4(1, 2, [1]))
        builder.source = source
        let outcome = bench.outcome(of: builder.bytes())
        #expect(outcome == .dropped(.sourceNotAllowed))
    }

    @Test("a packet from any of the host's own addresses is dropped, by those it has now")
    func anyOwnAddress() throws {
        let own = OwnAddresses(room: 4)
        var bench = try Bench(BlogPolicy.self, settings { $0.ownAddresses = own })
        func outcome(_ source: UInt32) -> Outcome? {
            var builder = PacketBuilder(PacketBuilder.udp4(1, 2, [1]))
            builder.source = source
            return bench.outcome(of: builder.bytes())
        }
        let (second, likeSecond) = (0x0A4D_0105, 0x0A4D_0145) as (UInt32, UInt32)
        let inPrefix: UInt32 = 0x0A4E_0009
        own.set(LocalAddresses(single: [0x7F00_0001, 0x0A4D_0002, second]))
        #expect(outcome(second) == .dropped(.sourceNotAllowed))
        for other in [likeSecond, inPrefix, 0x0A4D_0001] {
            guard case .forwarded = outcome(other) else { return #expect(other == 0) }
        }
        own.set(
            LocalAddresses(
                single: [0x0A4D_0002], prefixes: [AddressPrefix(address: 0x0A4E_0000, length: 16)]))
        #expect(outcome(inPrefix) == .dropped(.sourceNotAllowed))
        guard case .forwarded = outcome(second) else { return #expect(second == 0) }
    }

    @Test("the MTU bounds growth: a replacement that shrinks a longer packet is allowed")
    func mtuBoundsGrowth() throws {
        let long = Array("weakly typed".utf8) + [UInt8](repeating: 0x2E, count: 8600)
        let packet = PacketBuilder(PacketBuilder.udp4(1, 3000, long)).bytes()
        var grows = try Bench()
        let refused = grows.outcome(of: packet)
        #expect(refused == .dropped(.tooBig))
        var shrinks = try Bench(Shrinking.self)
        let outcome = shrinks.outcome(of: packet)
        guard case .forwarded(let bytes) = outcome else { return #expect(outcome == nil) }
        #expect(bytes.count == packet.count - 6)
    }

    @Test("a SYN on the addresses of a closed connection begins a flow that lives its full time")
    func reopened() throws {
        var bench = try Bench(PassThrough.self)
        for flags in [0x02, 0x11, 0x02] as [UInt8] {
            _ = bench.outcome(
                of: PacketBuilder(PacketBuilder.tcp4(5, 80, [], flags: flags)).bytes())
        }
        // Longer than a closed flow's rest, shorter than an open one's.
        bench.worker.io.advance(nanoseconds: 60_000_000_000)
        _ = bench.outcome(of: PacketBuilder(PacketBuilder.tcp4(5, 80, [], flags: 0x10)).bytes())
        #expect(bench.counters.read(.flowsCreated) == 1)
        #expect(bench.counters.read(.flowsExpired) == 0)
    }
}

/// Replaces by something shorter.
private struct Shrinking: PacketProcessor {
    init(configuration: NoConfiguration, worker: Int) {}

    mutating func process(
        _ packet: inout Packet, flow: inout NoFlowState, context: inout Context
    ) -> Verdict {
        let outcome = packet.replaceAll(Needle("weakly typed"), with: Needle("typed."))
        if case .refused(let reason) = outcome { return .drop(reason) }
        return .forward
    }
}
