import Dataplane
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
