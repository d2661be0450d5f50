import RuleEngine
import SluiceCore
import SluiceTesting
import Testing

@Suite("Flows of IPv6 fragments")
struct FragmentFlowTests {
    /// RFC 8200 §4.5: later fragments repeat the fragment header's next-header field, while the
    /// first one may go on with another extension header.
    @Test("the first fragment and the later ones share one entry")
    func oneEntry() throws {
        let options = (number: UInt8(60), bytes: [0, 0, 1, 4, 0, 0, 0, 0] as [UInt8])
        let first = PacketBuilder.udp6(
            3001, 3002, [UInt8](repeating: 1, count: 24),
            extensions: [(44, fragmentHeader(offset: 0, more: true)), options])
        let later = PacketBuilder.ipv6(
            nextHeader: 60, [UInt8](repeating: 2, count: 16),
            extensions: [(44, fragmentHeader(offset: 40, more: false))])
        let counters = try CounterBlock(rules: 0, node: -1)
        var worker = try Worker(
            index: 0, io: MemoryIO(), processor: PassThrough(worker: 0), settings: PathSettings(),
            flowCapacity: 64, seed: 1, counters: counters)
        for inner in [first, later] { worker.io.enqueue(PacketBuilder(inner).bytes()) }
        let received = worker.runBurst()
        #expect(received == 2)
        #expect(counters.read(.packetsForwarded) == 2)
        #expect(counters.read(.flowsCreated) == 1)
    }

    // ---- What became of the first one.

    private func bench(drop text: String? = nil) throws -> RuleBench {
        var set = PolicySet()
        if let text {
            var rule = Rule("drop")
            rule.match.payload = Match.Payload([Array(text.utf8)])
            rule.terminal = .drop
            set.main.rules = [rule]
        }
        return try RuleBench(set)
    }

    /// A fragment of a UDP datagram over IPv6 that names `next`.
    private func six(
        _ offset: UInt16, _ more: Bool, id: UInt32 = 1, next: UInt8 = 17, count: Int = 32,
        _ text: String = ""
    ) -> [UInt8] {
        let bytes = Array(text.utf8) + [UInt8](repeating: 7, count: count - text.utf8.count)
        let data =
            offset == 0
            ? Array(PacketBuilder.udp6(9, 53, bytes).dropFirst(40)) : bytes
        return PacketBuilder(
            PacketBuilder.ipv6(
                nextHeader: next, data,
                extensions: [
                    PacketBuilder.fragmentHeader(offset: offset, more: more, identification: id)
                ])
        ).bytes()
    }

    private func passes(_ outer: [UInt8], _ bench: inout RuleBench) -> Bool {
        if case .forwarded? = bench.outcome(of: outer) { return true }
        return false
    }

    @Test(
        "a later fragment that names another next header follows all the same", arguments: [59, 6])
    func otherNextHeader(next: UInt8) throws {
        var bench = try bench(drop: "drop me")
        #expect(!passes(six(0, true, "drop me"), &bench))
        #expect(!passes(six(40, false, next: next), &bench), "its first was dropped")
        #expect(passes(six(0, true, id: 2), &bench))
        #expect(!passes(six(40, false, id: 2, next: next), &bench), "two names")
        #expect(!passes(six(40, false, id: 2), &bench), "that ends the packet")
        #expect(passes(six(40, false, id: 3, next: next), &bench), "nothing is known yet")
        #expect(!passes(six(0, true, id: 3), &bench), "two names")
    }

    @Test func `a second, shorter first fragment forgets nothing`() throws {
        var bench = try bench()
        #expect(passes(six(0, true, count: 64), &bench))
        #expect(passes(six(0, true, count: 16), &bench))
        #expect(!passes(six(24, false), &bench), "what the longer one has shown")
    }

    @Test func `a second, longer first fragment does not overlap a later one`() throws {
        var bench = try bench()
        #expect(passes(six(0, true, count: 16), &bench))
        #expect(passes(six(24, true), &bench))
        #expect(!passes(six(0, true, count: 64), &bench))
    }

    @Test func `a complete packet does not make its later fragments forgotten`() throws {
        var bench = try bench(drop: "drop me")
        #expect(passes(six(24, false), &bench))
        #expect(!passes(six(0, true, "drop me"), &bench), "it overlaps, and all bytes have come")
        #expect(!passes(six(0, true, count: 24), &bench))
    }

    @Test func `other fragments do not push out what a first one showed`() throws {
        var bench = try bench()
        #expect(passes(six(0, true, count: 64), &bench))
        // None of these is ever complete, and there are more than the table holds.
        for id in 1000..<40_000 as Range<UInt32> { _ = passes(six(0, true, id: id), &bench) }
        #expect(!passes(six(24, false), &bench))
    }

    @Test func `complete packets make room, and strangers wait for their first`()
        throws
    {
        var bench = try bench()
        #expect(passes(six(80, false, id: 7), &bench), "nothing is forgotten yet")
        for id in 1000..<40_000 as Range<UInt32> {
            guard passes(six(0, true, id: id), &bench), passes(six(40, false, id: id), &bench)
            else {
                Issue.record("packet \(id) found no room")
                return
            }
        }
        #expect(!passes(six(80, false, id: 8), &bench), "its first may have been forgotten")
        bench.worker.io.advance(nanoseconds: 31_000_000_000)
        #expect(passes(six(80, false, id: 9), &bench))
    }

    @Test func `without memory a later fragment of IPv6 may hide any header`() throws {
        var set = PolicySet()
        set.main.fragments = .forward
        var bench = try RuleBench(set)
        #expect(!passes(six(16, false, next: 59), &bench))
        #expect(passes(six(24, false, next: 59), &bench))
    }

    /// Offset in bytes, a multiple of 8.
    private func fragmentHeader(offset: UInt16, more: Bool) -> [UInt8] {
        [0, 0] + bigEndian(offset | (more ? 1 : 0)) + bigEndian(0x0102_0304 as UInt32)
    }
}
