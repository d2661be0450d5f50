import Gateway
import SluiceTesting
import Testing
import Verification
import Wire

@Suite struct GatewayEmulatorTests {
    private let there = PacketBuilder.udp4(40_000, 53, Shapes.text)
    private let back = PacketBuilder.udp4(
        53, 40_000, Shapes.text, source: 0xC0A8_020A, destination: 0xC0A8_010A)

    @Test func packetsGoToTheOtherSideOfTheirPair() {
        var bench = Bench()
        for pair in 0..<2 {
            let out = bench.send(there, from: .a, pair: pair)!
            let home = bench.send(back, from: .b, pair: pair)!
            #expect(
                bench.answer(turnedAround(out))
                    == .init(pair: pair, side: .b, offset: 68, length: there.count))
            #expect(
                bench.answer(turnedAround(home))
                    == .init(pair: pair, side: .a, offset: 68, length: back.count))
            #expect(Array(out[36..<48]) == [1, 8, 1, 2] + bigEndian(Bench.endpoints[pair]))
            #expect(out[20..<22] == home[20..<22], "one port in both directions")
            #expect(out[28..<68] == home[28..<68], "one cookie in both directions")
        }
        #expect(bench.violations == [:])
        #expect(bench.emulator.flowsCreated == 2)
        #expect(bench.emulator.counters.encapsulated == 4)
    }

    /// Only packets with right addresses, ports and Geneve bytes are delivered.
    @Test func whatIsDelivered() {
        var bench = Bench()
        let out = bench.send(there)!
        let right = turnedAround(out)
        #expect(bench.answer(repaired(right.flipping(67))) == nil)
        #expect(bench.answer(repaired(right.flipping(20))) == nil)
        #expect(bench.answer(repaired(right.flipping(19, 2))) == nil)
        #expect(bench.answer(repaired(right.flipping(right.count - 1))) != nil)
        #expect(bench.answer(right.flipping(26)) != nil)
        #expect(bench.emulator.violations.total == 5)
    }

    @Test func whatGWLBDoesNotCarry() {
        var bench = Bench()
        let multicast = PacketBuilder.udp4(1, 2, [], destination: 0xE000_0001)
        #expect(bench.send(multicast) == nil)
        #expect(bench.send([0x45, 0, 0]) == nil)
        #expect(bench.send(PacketBuilder.udp4(1, 2, [UInt8](repeating: 1, count: 8473))) == nil)
        #expect(bench.send(PacketBuilder.udp4(1, 2, [UInt8](repeating: 1, count: 8472))) != nil)
        #expect(bench.emulator.counters.ignored == 2)
        #expect(bench.emulator.counters.tooBig == 1)
        #expect(bench.emulator.counters.encapsulated == 1)
    }

    @Test func zeroOuterChecksums() {
        var bench = Bench(.reflect) { $0.outerChecksum = .zero }
        let out = bench.send(there)!
        #expect(out[26..<28] == [0, 0])
        bench.answer(turnedAround(out))
        #expect(bench.violations == [:])
    }

    /// Targets 0 and 1 healthy; 64 flows.
    private func twoTargets(_ failover: Failover) -> Bench {
        var bench = Bench(.reflect) {
            $0.failover = failover
            $0.health.healthyThreshold = 1
            $0.health.unhealthyThreshold = 1
        }
        for target in 0..<2 { _ = bench.emulator.group.report(target, isSuccess: true) }
        return bench
    }

    private func flow(_ number: UInt16, _ text: [UInt8] = Shapes.text) -> [UInt8] {
        PacketBuilder.udp4(number, 53, text)
    }

    private func target(_ outer: [UInt8]) -> UInt32 {
        outer[16..<20].reduce(0) { $0 << 8 | UInt32($1) }
    }

    @Test func noRebalanceKeepsFlows() {
        var bench = twoTargets(.noRebalance)
        let before = (1..<65).map { target(bench.send(flow($0))!) }
        #expect(Set(before) == Set(Bench.targets))
        _ = bench.emulator.group.report(0, isSuccess: false)
        let after = (1..<65).map { target(bench.send(flow($0))!) }
        #expect(after == before)
        let new = (101..<165).map { target(bench.send(flow($0))!) }
        #expect(Set(new) == [Bench.targets[1]])
        let lost = UInt64(before.filter { $0 == Bench.targets[0] }.count)
        #expect(bench.emulator.counters.lostToUnhealthy == lost)
        let totals = bench.emulator.group.targets.map(\.sent)
        #expect(totals[0] == lost * 2 && totals[0] + totals[1] == 192)
    }

    /// An unhealthy target that still answers (it drains) loses nothing.
    @Test func answersOfAnUnhealthyTargetAreNotLost() {
        var bench = twoTargets(.noRebalance)
        for number in 1..<65 as Range<UInt16> { _ = bench.send(flow(number)) }
        _ = bench.emulator.group.report(0, isSuccess: false)
        let sent = (1..<65).map { bench.send(flow($0, [1, 2]))! }
        #expect(bench.emulator.counters.lostToUnhealthy > 0)
        for outer in sent { #expect(bench.answer(turnedAround(outer)) != nil) }
        for outer in sent { bench.answer(turnedAround(outer)) }
        #expect(bench.emulator.counters.lostToUnhealthy == 0)
        #expect(bench.violations == [.duplicate: 64])
    }

    @Test func rebalanceMovesFlows() {
        var bench = twoTargets(.rebalance)
        let first = (1..<65).map { bench.send(flow($0))! }
        _ = bench.emulator.group.report(0, isSuccess: false)
        let after = (1..<65).map { bench.send(flow($0, [1, 2]))! }
        #expect(Set(after.map(target)) == [Bench.targets[1]])
        #expect(bench.emulator.counters.lostToUnhealthy == 0)
        // Port and cookie stay; what the old target still sends is right, too.
        for (old, new) in zip(first, after) { #expect(old[28..<68] == new[28..<68]) }
        for outer in first + after { #expect(bench.answer(turnedAround(outer)) != nil) }
        #expect(bench.violations == [:])
    }

    /// There and back again: what is under way from the last target before counts as right.
    @Test func rebalancedTwice() {
        var bench = twoTargets(.rebalance)
        for number in 1..<65 as Range<UInt16> { _ = bench.send(flow(number)) }
        _ = bench.emulator.group.report(0, isSuccess: false)
        let underWay = (1..<65).map { bench.send(flow($0, [1, 2]))! }
        _ = bench.emulator.group.report(0, isSuccess: true)
        _ = bench.emulator.group.report(1, isSuccess: false)
        let now = (1..<65).map { bench.send(flow($0, [3, 4]))! }
        #expect(Set(now.map(target)) == [Bench.targets[0]])
        for outer in underWay + now { #expect(bench.answer(turnedAround(outer)) != nil) }
        #expect(bench.violations == [:])
    }

    @Test func failOpen() {
        var bench = twoTargets(.rebalance)
        for target in 0..<2 { _ = bench.emulator.group.report(target, isSuccess: false) }
        let used = Set((1..<65).map { target(bench.send(flow($0))!) })
        #expect(used == Set(Bench.targets))
    }

    @Test func aReusedTupleIsANewFlow() {
        var bench = Bench()
        let first = bench.send(there)!
        bench.answer(turnedAround(first))
        bench.advance(seconds: 121)
        let second = bench.send(there)!
        #expect(first[64..<68] != second[64..<68])
        bench.answer(turnedAround(second))
        #expect(bench.violations == [:])
        #expect(bench.emulator.flowsCreated == 2)
        bench.answer(turnedAround(first))
        #expect(bench.emulator.violations.total == 1, "the old cookie is gone")
    }

    @Test func housekeepingForgetsAndGoesOn() {
        var bench = Bench()
        for number in 1..<500 as Range<UInt16> {
            bench.answer(turnedAround(bench.send(flow(number))!))
        }
        bench.advance(seconds: 500)
        for _ in 0..<10 { bench.emulator.keepHouse(at: bench.now) }
        for number in 1..<500 as Range<UInt16> {
            bench.answer(turnedAround(bench.send(flow(number))!))
        }
        #expect(bench.violations == [:])
        #expect(bench.emulator.flowsCreated == 998)
    }

    @Test func theSummary() {
        var bench = Bench()
        #expect(bench.emulator.summary().contains("\"encapsulated\": 0"))
        bench.answer(turnedAround(bench.send(there)!).flipping(67))
        bench.emulator.countDelivered()
        let summary = bench.emulator.summary([("more", 5)])
        for text in [
            "\"encapsulated\": 1", "\"delivered\": 1", "\"geneve\": 1", "\"flows\": 1",
            "\"more\": 5",
            "\"address\": \"10.77.0.2\", \"state\": \"initial\"",
        ] {
            #expect(summary.contains(text), "\(text)")
        }
        for kind in Violation.allCases { #expect(summary.contains("\"\(kind.rawValue)\": ")) }
    }
}
