import Support
import Testing
import Verification
import Wire

@testable import Generator

/// One packet goes out, something happens to it, and it comes back.
final class Bench {
    let traffic: Traffic
    var verifier: Verifier
    static let nodes: [UInt32] = [0xC0A8_140A, 0xC0A8_140B]
    static let target: UInt32 = 0xC0A8_1405
    var now: UInt64 = 1_000_000_000

    init(memory: Int = 64, _ change: (inout TrafficPlan) -> Void = { _ in }) {
        var plan = TrafficPlan(interface: "eth0", target: Self.target)
        plan.flows = 64
        plan.protocols = [Weighted(.udp, 1)]
        change(&plan)
        traffic = Traffic(plan, nodes: Self.nodes)
        verifier = Verifier(traffic, nodes: Self.nodes, thread: 0, memory: memory)
    }

    /// The outer packet that is sent, of the template `template`.
    func send(
        flow: UInt32 = 3, template: Int = 0, sequence: UInt32 = 1, isReply: Bool = false
    ) -> [UInt8] {
        verifier.makeRoom()
        let entry = verifier.templates + template
        var bytes = [UInt8](repeating: 0, count: entry.pointee.length)
        bytes.withUnsafeMutableBytes {
            entry.write(
                traffic.model.identity(flow, 0), isReply: isReply,
                mark: Stamp.of(verifier.log.next), sequence: sequence, to: $0.baseAddress!)
        }
        let isDropped =
            entry.pointee.answer < 0 || entry.pointee.dropsEveryFifth && sequence % 5 == 0
        verifier.log.add(
            Flight(
                due: now, flow: flow, sequence: sequence, template: UInt16(template), generation: 0,
                isReply: isReply, expectsDrop: isDropped))
        let trafficClass = Int(entry.pointee.trafficClass)
        verifier.tally.classes[trafficClass].sent += 1
        if isDropped { verifier.tally.classes[trafficClass].expectedDrops += 1 }
        return bytes
    }

    /// What a right appliance makes of the outer packet that reflects.
    func turned(_ sent: [UInt8]) -> [UInt8] {
        var bytes = sent
        bytes.replaceSubrange(12..<20, with: sent[16..<20] + sent[12..<16])
        return bytes
    }

    func judge(_ returned: [UInt8], after delay: UInt64 = 20_000, isPartial: Bool = false) {
        var bytes = returned
        withPacketView(&bytes) {
            verifier.judge($0, arrival: now + delay, isPartial: isPartial)
        }
    }

    /// The kinds that were counted.
    var violations: [Violation: UInt64] {
        var counts: [Violation: UInt64] = [:]
        for kind in Violation.allCases where verifier.tally[kind] > 0 {
            counts[kind] = verifier.tally[kind]
        }
        return counts
    }
}

@Suite struct VerifierTests {
    /// Sums that the change has made wrong, made right again.
    static func repair(_ packet: inout [UInt8], inner: Bool = true, outer: Bool = true) {
        let count = packet.count
        withPacketView(&packet) { view in
            if inner, view.u8(68) == 0x45 {
                IPv4Header.writeChecksum(view, at: 68, length: 20)
                view.set16(68 + 26, 0)
                var sum = InternetChecksum()
                sum.add(view, at: 68 + 12, count: 8)
                sum.add(UInt16(17))
                sum.add(UInt16(count - 88))
                sum.add(view, at: 88, count: count - 88)
                view.set16(68 + 26, sum.checksum)
            }
            guard outer else { return }
            IPv4Header.writeChecksum(view, at: 0, length: 20)
            view.set16(26, 0)
            var sum = InternetChecksum()
            sum.add(view, at: 12, count: 8)
            sum.add(UInt16(17))
            sum.add(UInt16(count - 20))
            sum.add(view, at: 20, count: count - 20)
            view.set16(26, sum.checksum)
        }
    }

    @Test(arguments: [OuterChecksum.valid, .zero], [64, 128, 8500])
    func aRightReturnIsNoViolation(_ checksum: OuterChecksum, _ size: Int) {
        let bench = Bench {
            $0.outerChecksum = checksum
            $0.sizes = .fixed(size)
        }
        for sequence in UInt32(0)..<200 {
            let sent = bench.send(flow: sequence % 64, sequence: sequence)
            bench.judge(bench.turned(sent))
        }
        #expect(bench.violations == [:])
        #expect(bench.verifier.tally.total.received == 200)
        #expect(bench.verifier.latencies.totalCount == 200)
    }

    @Test func whatAHostMayChangeIsNoViolation() {
        let bench = Bench()
        var back = bench.turned(bench.send())
        back[1] = 0x10  // TOS
        back[4] = 0x77  // identification
        back[8] = 63  // TTL
        Self.repair(&back, inner: false)
        bench.judge(back)
        // Without outer checksum; with the right one where zero was sent.
        back = bench.turned(bench.send())
        back[26] = 0
        back[27] = 0
        bench.judge(back)
        bench.judge(bench.turned(bench.send()) + [0, 0, 0])
        var partial = bench.turned(bench.send())
        partial[26] ^= 0x55
        bench.judge(partial, isPartial: true)
        #expect(bench.violations == [:])
        #expect(bench.verifier.tally.total.received == 4)

        let zero = Bench { $0.outerChecksum = .zero }
        back = zero.turned(zero.send())
        Self.repair(&back, inner: false)
        zero.judge(back)
        #expect(zero.violations == [:])
    }

    /// What is done to the packet, and the one kind that names it.
    static let faults: [(String, Violation, @Sendable (inout [UInt8]) -> Void)] = [
        ("source", .addresses, { $0[15] ^= 1 }),
        ("destination", .addresses, { $0[19] ^= 1 }),
        (
            "not swapped", .addresses,
            { $0.replaceSubrange(12..<20, with: $0[16..<20] + $0[12..<16]) }
        ),
        ("source port", .ports, { $0[21] ^= 1 }),
        ("ports swapped", .ports, { $0.replaceSubrange(20..<24, with: $0[22..<24] + $0[20..<22]) }),
        ("endpoint", .geneve, { $0[47] ^= 1 }),
        ("attachment", .geneve, { $0[55] ^= 1 }),
        ("cookie", .geneve, { $0[67] ^= 0x80 }),
        ("VNI", .geneve, { $0[34] ^= 1 }),
        ("reserved bits", .geneve, { $0[29] ^= 1 }),
        ("payload", .payload, { $0[100] ^= 1 }),
        ("stamp", .payload, { $0[$0.count - 1] ^= 0xFF }),
        ("inner TTL", .payload, { $0[76] ^= 1 }),
        ("inner destination", .payload, { $0[84] ^= 1 }),
    ]

    @Test(arguments: faults.indices, [OuterChecksum.valid, .zero])
    func aChangeIsNamed(_ index: Int, _ checksum: OuterChecksum) {
        let (name, kind, change) = Self.faults[index]
        let bench = Bench { $0.outerChecksum = checksum }
        bench.judge(bench.turned(bench.send(flow: 5)))
        var back = bench.turned(bench.send(flow: 5, sequence: 2))
        change(&back)
        Self.repair(&back)
        bench.judge(back)
        #expect(bench.violations == [kind: 1], "\(name)")
    }

    @Test func checksumsAreToldApart() {
        let bench = Bench()
        var back = bench.turned(bench.send())
        back[95] ^= 0x40
        Self.repair(&back, inner: false)
        bench.judge(back)
        back = bench.turned(bench.send())
        back[78] ^= 0x40
        Self.repair(&back, inner: false)
        bench.judge(back)
        #expect(bench.violations == [.innerChecksum: 2])
        back = bench.turned(bench.send())
        back[27] ^= 0x40
        bench.judge(back)
        back = bench.turned(bench.send())
        back[11] ^= 0x40
        bench.judge(back)
        #expect(bench.violations == [.innerChecksum: 2, .outerChecksum: 2])
        #expect(bench.verifier.tally.total.received == 4)
    }

    @Test func anOptionMoreOrLessIsNamed() {
        let bench = Bench()
        // One more word of options, and none at all.
        var more = bench.turned(bench.send())
        more.insert(contentsOf: [0x01, 0x07, 0x01, 0x00], at: 68)
        more[28] = 0x09
        var less = bench.turned(bench.send())
        less.removeSubrange(36..<68)
        less[28] = 0
        for packet in [more, less] {
            var packet = packet
            withPacketView(&packet) { view in
                view.set16(2, UInt16(view.count))
                view.set16(24, UInt16(view.count - 20))
            }
            Self.repair(&packet, inner: false)
            bench.judge(packet)
        }
        #expect(bench.violations == [.geneve: 2])
    }

    @Test func whenItComesCounts() {
        let bench = Bench { $0.lateAfter = 0.5 }
        let first = bench.turned(bench.send(sequence: 1))
        let second = bench.turned(bench.send(sequence: 2))
        let third = bench.turned(bench.send(sequence: 3))
        bench.judge(second)
        #expect(bench.violations == [:])
        bench.judge(first)
        #expect(bench.violations == [.reordered: 1])
        bench.judge(second)
        #expect(bench.violations == [.reordered: 1, .duplicate: 1])
        bench.judge(third, after: 600_000_000)
        #expect(bench.violations == [.reordered: 1, .duplicate: 1, .late: 1])
        #expect(bench.verifier.tally.total.received == 3)
    }

    @Test func directionsAndFlowsHaveTheirOwnOrder() {
        let bench = Bench { $0.bothDirections = true }
        let one = bench.turned(bench.send(flow: 1, sequence: 1))
        let other = bench.turned(bench.send(flow: 2, sequence: 1))
        let reply = bench.turned(bench.send(flow: 1, sequence: 1, isReply: true))
        for packet in [reply, other, one] { bench.judge(packet) }
        #expect(bench.violations == [:])
    }

    @Test func lateAndLostAreNotCountedTwice() {
        let bench = Bench { $0.lateAfter = 0.5 }
        let back = bench.turned(bench.send())
        bench.verifier.settle(dueBefore: bench.now + 1, atMost: 10)
        #expect(bench.verifier.tally.total.lost == 1)
        bench.judge(back, after: 700_000_000)
        #expect(bench.verifier.tally.total.lost == 0)
        #expect(bench.verifier.tally.total.received == 1)
        #expect(bench.violations == [.late: 1])
    }

    @Test func whatIsForgottenIsLate() {
        let bench = Bench(memory: 4)
        let old = bench.turned(bench.send())
        for sequence in UInt32(2)..<10 { _ = bench.send(sequence: sequence) }
        bench.judge(old)
        #expect(bench.violations == [.late: 1])
        #expect(bench.verifier.tally.total.lost == 5)
    }

    @Test func strangersAreUnexpectedWhenTheyComeToUs() {
        let bench = Bench()
        let header = GatewayHeader(
            node: Bench.target, target: Bench.nodes[0], sourcePort: 1234, endpoint: 1, cookie: 2)
        let inner: [UInt8] = [0x45, 0, 0, 28] + [UInt8](repeating: 0, count: 24)
        bench.judge(Encapsulation.packet(header, inner: inner))
        #expect(bench.violations == [.unexpected: 1])
        var elsewhere = header
        elsewhere.target = 0x0101_0101
        bench.judge(Encapsulation.packet(elsewhere, inner: inner))
        #expect(bench.violations == [.unexpected: 1])
    }

    @Test func thePolicyIsExpected() {
        let bench = Bench {
            $0.expectation = .blog
            $0.payloads = [Weighted(.neutral, 1), Weighted(.drop, 1), Weighted(.rewrite, 1)]
        }
        func number(_ trafficClass: TrafficClass) -> Int {
            bench.traffic.library.templates.firstIndex {
                $0.trafficClass == trafficClass.rawValue
            }!
        }
        let (drop, rewrite) = (number(.drop), number(.rewrite))
        // What should have been dropped.
        let dropped = bench.send(template: drop)
        #expect(bench.verifier.tally.total.expectedDrops == 1)
        bench.judge(bench.turned(dropped))
        #expect(bench.violations == [.missingDrop: 1])
        // Unchanged, though a rule should have changed it.
        var sent = bench.send(template: rewrite)
        bench.judge(bench.turned(sent))
        #expect(bench.violations == [.missingDrop: 1, .payload: 1])
        // As the oracle says.
        sent = bench.send(template: rewrite)
        guard case .forward(let inner) = BlogOracle.expect(Array(sent.dropFirst(68))) else {
            Issue.record("the oracle drops it")
            return
        }
        var back = Array(bench.turned(sent).prefix(68)) + inner
        withPacketView(&back) { view in
            view.set16(2, UInt16(view.count))
            view.set16(24, UInt16(view.count - 20))
        }
        Self.repair(&back, inner: false)
        bench.judge(back)
        #expect(bench.violations == [.missingDrop: 1, .payload: 1])
    }

    @Test func everyFifthEchoIsExpectedToBeDropped() {
        let bench = Bench {
            $0.expectation = .blog
            $0.protocols = [Weighted(.icmp, 1)]
        }
        for sequence in UInt32(1)...10 {
            let sent = bench.send(sequence: sequence)
            if sequence % 5 != 0 { bench.judge(bench.turned(sent)) }
        }
        #expect(bench.violations == [:])
        #expect(bench.verifier.tally.total.expectedDrops == 2)
        #expect(bench.verifier.tally.total.received == 8)
        #expect(bench.verifier.tally.outstanding == 0)
    }

    @Test func malformedPacketsAreKnownByTheirPorts() {
        let bench = Bench { $0.malformed = 0.1 }
        for (number, packet) in bench.traffic.malformed.enumerated() {
            bench.verifier.malformedSent[number] += 1
            bench.verifier.tally.classes[Int(TrafficClass.malformed.rawValue)].sent += 1
            if packet.expectsDrop { continue }
            bench.judge(bench.turned(packet.bytes))
        }
        #expect(bench.violations == [:])
        let passed = bench.traffic.malformed.filter { !$0.expectsDrop }
        #expect(bench.verifier.tally.total.received == UInt64(passed.count))
        bench.judge(bench.turned(passed[0].bytes))
        #expect(bench.violations == [.duplicate: 1])
        // One that should have been dropped, and is readable enough to tell.
        let dropped = bench.traffic.malformed.first { $0.expectsDrop && $0.bytes.count > 80 }!
        bench.judge(bench.turned(dropped.bytes))
        #expect(bench.verifier.tally[.missingDrop] <= 1)
    }

    /// Whatever comes in, it is judged without harm.
    @Test func anyBytesAreJudged() {
        let bench = Bench { $0.malformed = 0.1 }
        var dice = SplitMix64(seed: 11)
        for _ in 0..<20_000 {
            var bytes = bench.turned(bench.send())
            for _ in 0..<(1 + dice.next() % 4) {
                bytes[Int(dice.next() % UInt64(min(bytes.count, 90)))] =
                    UInt8(truncatingIfNeeded: dice.next())
            }
            if dice.next() % 3 == 0 { bytes.removeLast(Int(dice.next() % UInt64(bytes.count))) }
            bench.judge(bytes)
        }
        #expect(bench.verifier.tally.total.received <= 20_000)
    }
}

@Suite struct ReplayTests {
    private static func packets() -> [[UInt8]] {
        ["one", "two weakly typed", "drop me"].map { text in
            let payload = Array(text.utf8)
            let length = 28 + payload.count
            var packet: [UInt8] = [0x45, 0, 0, UInt8(length), 0, 0, 0, 0, 64, 17, 0, 0]
            packet += [
                10, 0, 0, 1, 10, 0, 0, 2, 0x9C, 0x40, 0x0B, 0xB8, 0, UInt8(length - 20), 0, 0,
            ]
            packet += payload
            withPacketView(&packet) { IPv4Header.writeChecksum($0, at: 0, length: 20) }
            return packet
        }
    }

    private func bench(_ expectation: Generator.Expectation) -> Bench {
        Bench {
            $0.replay = Self.packets()
            $0.expectation = expectation
        }
    }

    private func send(_ bench: Bench, _ number: Int) -> [UInt8] {
        let item = bench.traffic.replay!.items[number]
        bench.verifier.noteReplay(item, due: bench.now)
        bench.verifier.tally.classes[Int(TrafficClass.replay.rawValue)].sent += 1
        return item.bytes
    }

    @Test func whatComesBackUnchangedIsRight() {
        let bench = bench(.reflect)
        #expect(bench.traffic.replay!.flowCount == 1)
        for round in 0..<30 { bench.judge(bench.turned(send(bench, round % 3))) }
        #expect(bench.violations == [:])
        #expect(bench.verifier.tally.total.received == 30)
    }

    @Test func faultsAreNamed() {
        let bench = bench(.reflect)
        let sent = send(bench, 0)
        bench.judge(bench.turned(sent))
        bench.judge(bench.turned(sent))
        #expect(bench.violations == [.duplicate: 1])
        var back = bench.turned(send(bench, 1))
        back[100] ^= 1
        VerifierTests.repair(&back, inner: false)
        bench.judge(back)
        #expect(bench.violations == [.duplicate: 1, .payload: 1])
        back = bench.turned(send(bench, 0))
        back[47] ^= 1
        VerifierTests.repair(&back, inner: false)
        bench.judge(back)
        #expect(bench.violations == [.duplicate: 1, .payload: 1, .geneve: 1])
        back = bench.turned(send(bench, 0))
        back[78] ^= 1
        VerifierTests.repair(&back, inner: false)
        bench.judge(back)
        #expect(
            bench.violations == [.duplicate: 1, .payload: 1, .geneve: 1, .innerChecksum: 1])
    }

    /// A packet that the log has forgotten comes back late; it is not taken for the one that has
    /// its place in the log now.
    @Test(arguments: [62, 63, 64, 65, 200])
    func aForgottenPacketIsLate(others: Int) {
        let bench = bench(.reflect)
        let old = send(bench, 0)
        let rest = (0..<others).map { _ in send(bench, 1) }
        bench.judge(bench.turned(old))
        #expect(bench.violations == (others < 64 ? [:] : [.late: 1]))
        for packet in rest.suffix(60) { bench.judge(bench.turned(packet)) }
        #expect(bench.violations[.duplicate] == nil)
        #expect(bench.verifier.tally.total.received == (others < 64 ? 61 : 60))
    }

    /// One that should not come back may have the place of one that should.
    @Test func aForgottenPacketIsNoMissingDrop() {
        let bench = bench(.blog)
        let old = send(bench, 0)
        for _ in 0..<64 { _ = send(bench, 2) }
        bench.judge(bench.turned(old))
        #expect(bench.violations == [.late: 1])
    }

    @Test func thePolicyIsExpected() {
        let bench = bench(.blog)
        let items = bench.traffic.replay!.items
        #expect(items.map(\.expectsDrop) == [false, false, true])
        bench.judge(bench.turned(send(bench, 2)))
        #expect(bench.violations == [.missingDrop: 1])
        bench.judge(bench.turned(send(bench, 1)))
        #expect(bench.violations == [.missingDrop: 1, .payload: 1])
    }
}

@Suite struct VerificationCostTests {
    @Test func itJudgesWithoutFailure() {
        var plan = TrafficPlan(interface: "eth0", target: 0xC0A8_1405)
        plan.ipv6 = 0.3
        #expect(VerificationCost.run(plan, packets: 640) == 0)
    }
}
