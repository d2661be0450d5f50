import DNSLifetime
import SluiceCore
import SluiceTesting
import Testing

@Suite("DNS lifetime")
struct DNSLifetimeTests {
    /// An answer from the resolver with one address for each lifetime.
    private static func answer(_ lifetimes: [UInt32], isV6: Bool = false) -> PacketBuilder {
        var message = bigEndian(7 as UInt16) + bigEndian(0x8180 as UInt16)
        message += bigEndian(1 as UInt16) + bigEndian(UInt16(lifetimes.count)) + [0, 0, 0, 0]
        message += [7] + Array("example".utf8) + [3] + Array("org".utf8) + [0, 0, 1, 0, 1]
        for lifetime in lifetimes {
            message += [0xC0, 12, 0, 1, 0, 1] + bigEndian(lifetime) + [0, 4, 192, 0, 2, 1]
        }
        let ends = isV6 ? ("2001:db8::53", "2001:db8::1") : ("192.0.2.53", "198.51.100.1")
        return PacketBuilder(
            PacketBuilder.udp(from: ends.0, 53, to: ends.1, 40_000, message))
    }

    /// What comes back for `packet` when `inner` should be inside: one hop further.
    private static func turned(_ packet: PacketBuilder, _ inner: PacketBuilder) -> [UInt8] {
        var answer = packet
        answer.inner = inner.inner
        swap(&answer.source, &answer.destination)
        answer.timeToLive -= 1
        return answer.bytes()
    }

    @Test(arguments: [false, true])
    func `longer lifetimes are shortened, checksums are right`(isV6: Bool) throws {
        var bench = try ProcessorBench(DNSLifetime.self, configuration: .init())
        let packet = Self.answer([3600, 5, 86_400], isV6: isV6)
        let sent = bench.send(packet)
        #expect(sent == Self.turned(packet, Self.answer([60, 5, 60], isV6: isV6)))
        #expect(bench.count(of: .shortened) == 2)
    }

    @Test func `a message that is cut off passes as far as it can be read`() throws {
        var bench = try ProcessorBench(DNSLifetime.self, configuration: .init())
        let whole = Self.answer([3600])
        for count in 0..<whole.inner.count - 28 {
            let payload = Array(whole.inner[28..<28 + count])
            let packet = PacketBuilder(
                PacketBuilder.udp(from: "192.0.2.53", 53, to: "198.51.100.1", 40_000, payload))
            _ = bench.send(packet)
            #expect(bench.dropReason == nil)
        }
        #expect(bench.count(of: .shortened) == 0)
    }

    @Test func `it can be measured`() throws {
        let cost = try ProcessorBench.nanosecondsPerPacket(
            DNSLifetime.self, configuration: .init(), [Self.answer([3600, 5])], rounds: 10)
        print("\(cost) ns for a packet")
        #expect(cost >= 0)
    }
}
