import Gateway
import SluiceTesting
import Testing
import Verification
import Wire

@Suite("TCP resets")
struct TCPResetTests {
    private static let source: UInt32 = 0xC0A8_010A
    private static let destination: UInt32 = 0xC0A8_020A

    /// What the load balancer answers a host's packet itself.
    private func reset(
        _ bench: inout Bench, _ inner: [UInt8], from side: GatewayEmulator.Side = .a
    ) -> [UInt8]? {
        var outer = [UInt8](repeating: 0xEE, count: Encapsulation.overhead) + inner
        let time = bench.now
        let delivery = withPacketView(&outer) {
            bench.emulator.reset($0, pair: 0, from: side, at: time)
        }
        guard let delivery else { return nil }
        #expect(delivery.pair == 0 && delivery.side == side, "to the sender")
        return Array(outer[delivery.offset..<delivery.offset + delivery.length])
    }

    private func bench(_ failover: Failover = .noRebalance) -> Bench {
        Bench {
            $0.resetsTCP = true
            $0.failover = failover
            $0.health.unhealthyThreshold = 1
        }
    }

    @Test func `a packet in mid-flow of an unknown flow is reset where the sender expects it`() {
        var bench = bench()
        let packet = PacketBuilder.tcp4(5, 6, Array("hello".utf8))
        // The builder's acknowledgment number is 2.
        let segment: [UInt8] =
            [0, 6, 0, 5] + [0, 0, 0, 2] + [0, 0, 0, 0] + [0x50, TCPFlag.rst, 0, 0] + [0, 0, 0, 0]
        let sum = transportChecksum(
            bigEndian(Self.destination), bigEndian(Self.source), 6, segment)
        var expected = segment
        expected.replaceSubrange(16..<18, with: bigEndian(sum))
        let answer = reset(&bench, packet)
        #expect(answer.map { Array($0[20...]) } == expected)
        #expect(answer.map { Array($0[..<4]) } == [0x45, 0, 0, 40])
        #expect(
            answer.map { Array($0[12..<20]) } == bigEndian(Self.destination)
                + bigEndian(Self.source))
        #expect(answer.map { internetChecksum(Array($0[..<20])) } == 0)
    }

    /// RFC 9293 §3.10.7.1: without an acknowledgment, the reset acknowledges all of the segment.
    @Test func `without an acknowledgment the reset has one`() {
        var bench = bench()
        let packet = PacketBuilder.tcp4(5, 6, Array("hello".utf8), flags: TCPFlag.fin)
        let answer = reset(&bench, packet)
        #expect(answer.map { Array($0[24..<28]) } == [0, 0, 0, 0])
        // Sequence number 1, five bytes, and FIN.
        #expect(answer.map { Array($0[28..<32]) } == [0, 0, 0, 7])
        #expect(answer?[33] == TCPFlag.rst | TCPFlag.ack)
    }

    @Test func `an IPv6 connection is reset, extension headers or not`() {
        var bench = bench()
        let chains: [[PacketBuilder.Extension]] = [[], [PacketBuilder.extensionHeader(60)]]
        for extensions in chains {
            let packet = PacketBuilder.tcp6(5, 6, [1], extensions: extensions)
            let answer = reset(&bench, packet)
            #expect(answer?.count == 60)
            #expect(answer?[6] == 6)
            #expect(answer?[53] == TCPFlag.rst)
            #expect(answer.map { Array($0[8..<24]) } == Array(packet[24..<40]))
            let segment = answer.map { Array($0[40...]) } ?? []
            #expect(
                transportChecksum(Array(packet[24..<40]), Array(packet[8..<24]), 6, segment) == 0)
        }
    }

    @Test func `what opens a connection, resets one, or is no TCP goes on`() {
        var bench = bench()
        for flags in [
            TCPFlag.syn, TCPFlag.syn | TCPFlag.ack, TCPFlag.rst, TCPFlag.rst | TCPFlag.ack,
        ] {
            #expect(reset(&bench, PacketBuilder.tcp4(5, 6, [], flags: flags)) == nil)
        }
        #expect(reset(&bench, PacketBuilder.udp4(5, 6, [1])) == nil)
        var silent = Bench()
        #expect(reset(&silent, PacketBuilder.tcp4(5, 6, [])) == nil, "unless asked for")
    }

    @Test func `a live flow goes on, one that was idle too long is reset`() {
        var bench = bench()
        #expect(bench.send(PacketBuilder.tcp4(5, 6, [], flags: TCPFlag.syn)) != nil)
        #expect(reset(&bench, PacketBuilder.tcp4(5, 6, [1])) == nil)
        bench.advance(seconds: 351)
        #expect(reset(&bench, PacketBuilder.tcp4(5, 6, [1])) != nil)
    }

    @Test(arguments: [Failover.noRebalance, .rebalance])
    func `a flow that stays on an unhealthy target is reset and forgotten`(failover: Failover) {
        var bench = bench(failover)
        #expect(bench.send(PacketBuilder.tcp4(5, 6, [], flags: TCPFlag.syn)) != nil)
        for target in Bench.targets.indices {
            for _ in 0..<5 { _ = bench.emulator.group.report(target, isSuccess: true) }
        }
        let target = bench.emulator.group.targets.firstIndex { $0.sent == 1 }!
        #expect(bench.emulator.group.report(target, isSuccess: false) == .unhealthy)
        let isReset = reset(&bench, PacketBuilder.tcp4(5, 6, [1])) != nil
        #expect(isReset == (failover == .noRebalance))
        let flows = bench.emulator.flowsCreated
        #expect(bench.send(PacketBuilder.tcp4(5, 6, [], flags: TCPFlag.syn)) != nil)
        #expect(bench.emulator.flowsCreated == flows + (isReset ? 1 : 0))
    }
}
