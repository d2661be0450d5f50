import Gateway
import SluiceTesting
import Testing
import Verification
import Wire

@Suite struct FlowDirectoryTests {
    private struct Directory {
        var flows: FlowDirectory
        var now: UInt64 = 0

        init(_ stickiness: Stickiness = .fiveTuple, seed: UInt64 = 1) {
            var settings = FlowDirectory.Settings(nodes: Bench.nodes, seed: seed)
            settings.stickiness = stickiness
            flows = FlowDirectory(settings)
        }

        mutating func flow(_ bytes: [UInt8], endpoint: UInt64 = 1) -> GatewayFlow {
            var bytes = bytes
            let time = now
            let slot = withPacketView(&bytes) { view in
                flows.slot(for: InnerPacket(view, at: 0)!, endpoint: endpoint, at: time) {
                    (Int($0 % 2), Bench.targets[Int($0 % 2)])
                }
            }
            return flows[slot]
        }

        mutating func pass(seconds: UInt64) { now += seconds * 1_000_000_000 }
    }

    private static let there = PacketBuilder.udp4(40_000, 53, [1])
    private static let back = PacketBuilder.udp4(
        53, 40_000, [1], source: 0xC0A8_020A, destination: 0xC0A8_010A)

    @Test func bothDirectionsShareAllOfTheHeader() {
        var directory = Directory()
        let first = directory.flow(Self.there)
        let second = directory.flow(Self.back)
        #expect(first.header == second.header)
        #expect(first.number == second.number)
        #expect(directory.flows.created == 1)
    }

    @Test func flowsDiffer() {
        var directory = Directory()
        var cookies: Set<UInt32> = []
        var ports: Set<UInt16> = []
        var nodes: Set<UInt32> = []
        var targets: Set<UInt32> = []
        for port in 1000..<2000 as Range<UInt16> {
            let header = directory.flow(PacketBuilder.udp4(port, 53, [])).header
            cookies.insert(header.cookie)
            ports.insert(header.sourcePort)
            nodes.insert(header.node)
            targets.insert(header.target)
            #expect(header.attachment == 0)
            #expect(header.sourcePort >= 1024 && header.sourcePort != 6081)
        }
        #expect(cookies.count == 1000)
        #expect(ports.count > 900)
        #expect(nodes == Set(Bench.nodes))
        #expect(targets == Set(Bench.targets))
        #expect(directory.flows.created == 1000)
        #expect(directory.flows.live == 1000)
    }

    @Test func endpointsAreTenants() {
        var directory = Directory()
        let one = directory.flow(Self.there, endpoint: 1)
        let other = directory.flow(Self.there, endpoint: 2)
        #expect(one.number != other.number)
        #expect(one.header.endpoint == 1 && other.header.endpoint == 2)
    }

    @Test func aSeedRepeats() {
        var one = Directory(seed: 9)
        var other = Directory(seed: 9)
        #expect(one.flow(Self.there).header == other.flow(Self.there).header)
        var third = Directory(seed: 10)
        #expect(one.flow(Self.there).header != third.flow(Self.there).header)
    }

    /// The tuples of GWLB (docs/gateway.md).
    @Test func stickiness() {
        let otherPort = PacketBuilder.udp4(40_001, 53, [1])
        let tcp = PacketBuilder.tcp4(40_000, 53, [1])
        let otherHost = PacketBuilder.udp4(40_000, 53, [1], destination: 0xC0A8_030A)
        func same(_ stickiness: Stickiness, _ packet: [UInt8]) -> Bool {
            var directory = Directory(stickiness)
            return directory.flow(Self.there).number == directory.flow(packet).number
        }
        for stickiness in Stickiness.allCases { #expect(!same(stickiness, otherHost)) }
        #expect(!same(.fiveTuple, otherPort))
        #expect(same(.threeTuple, otherPort))
        #expect(same(.twoTuple, otherPort))
        #expect(!same(.threeTuple, tcp))
        #expect(same(.twoTuple, tcp))
    }

    /// Fragments have no ports that GWLB could look at: all of one datagram are one flow.
    @Test func fragmentsGoTogether() {
        let text = [UInt8](repeating: 1, count: 16)
        let first = PacketBuilder.ipv4(protocolNumber: 17, text, flagsAndOffset: 0x2000)
        let later = PacketBuilder.ipv4(protocolNumber: 17, text, flagsAndOffset: 0x0002)
        var directory = Directory()
        #expect(directory.flow(first).number == directory.flow(later).number)
    }

    @Test func idleFlowsBeginAnew() {
        for (packet, idle) in [
            (PacketBuilder.tcp4(40_000, 53, [1]), 350), (Self.there, 120),
            (PacketBuilder.icmp4(type: 8, sequence: 1), 120),
        ] as [([UInt8], UInt64)] {
            var directory = Directory()
            let first = directory.flow(packet)
            directory.pass(seconds: idle)
            #expect(directory.flow(packet).header == first.header)
            directory.pass(seconds: idle)
            #expect(directory.flow(packet).header == first.header, "every packet counts")
            directory.pass(seconds: idle + 1)
            let anew = directory.flow(packet)
            #expect(anew.header.cookie != first.header.cookie)
            #expect(anew.number != first.number)
            #expect(directory.flows.slot(cookie: first.header.cookie) == nil)
            #expect(directory.flows.slot(cookie: anew.header.cookie) != nil)
            #expect(directory.flows.live == 1)
        }
    }

    @Test func sweepingForgetsOnlyIdleFlows() {
        var directory = Directory()
        for port in 1000..<1100 as Range<UInt16> {
            _ = directory.flow(PacketBuilder.udp4(port, 53, []))
        }
        directory.pass(seconds: 100)
        for port in 1000..<1010 as Range<UInt16> {
            _ = directory.flow(PacketBuilder.udp4(port, 53, []))
        }
        directory.pass(seconds: 50)
        for _ in 0..<10 { directory.flows.sweep(10, at: directory.now) }
        #expect(directory.flows.live == 10)
        #expect(directory.flow(PacketBuilder.udp4(1005, 53, [])).number <= 100)
        for port in 2000..<2100 as Range<UInt16> {
            _ = directory.flow(PacketBuilder.udp4(port, 53, []))
        }
        #expect(directory.flows.live == 110)
    }
}

@Suite struct TargetGroupTests {
    private static func group(
        _ count: Int, failover: Failover = .noRebalance, healthy: Int = 3, unhealthy: Int = 2
    ) -> TargetGroup {
        var health = HealthSettings()
        health.healthyThreshold = healthy
        health.unhealthyThreshold = unhealthy
        return TargetGroup(
            addresses: (0..<UInt32(count)).map { 100 + $0 }, health: health, failover: failover)
    }

    @Test func thresholdsCountInARow() {
        var group = Self.group(1)
        #expect(group.targets[0].state == .initial)
        #expect(group.report(0, isSuccess: true) == nil)
        #expect(group.report(0, isSuccess: true) == nil)
        #expect(group.report(0, isSuccess: false) == nil)
        #expect(group.report(0, isSuccess: true) == nil)
        #expect(group.report(0, isSuccess: true) == nil)
        #expect(group.targets[0].state == .initial)
        #expect(group.report(0, isSuccess: true) == .healthy)
        #expect(group.report(0, isSuccess: true) == nil)
        #expect(group.report(0, isSuccess: false) == nil)
        #expect(group.report(0, isSuccess: true) == nil)
        #expect(group.report(0, isSuccess: false) == nil)
        #expect(group.report(0, isSuccess: false) == .unhealthy)
        #expect(group.report(0, isSuccess: false) == nil)
        #expect(group.report(0, isSuccess: true) == nil)
        #expect(group.report(0, isSuccess: true) == nil)
        #expect(group.report(0, isSuccess: true) == .healthy)
    }

    @Test func aTargetThatNeverAnswersTurnsUnhealthy() {
        var group = Self.group(1)
        #expect(group.report(0, isSuccess: false) == nil)
        #expect(group.report(0, isSuccess: false) == .unhealthy)
    }

    @Test func checksAreDueEveryInterval() {
        var group = Self.group(2)
        #expect(group.dueChecks(at: 5) == [0, 1])
        #expect(group.dueChecks(at: 6) == [])
        #expect(group.nextCheck == 10_000_000_005)
        #expect(group.dueChecks(at: 10_000_000_004) == [])
        #expect(group.dueChecks(at: 10_000_000_005) == [0, 1])
    }

    @Test func healthyTargetsShareTheFlows() {
        var group = Self.group(3, healthy: 1, unhealthy: 1)
        func chosen() -> Set<Int> { Set((0..<100).map { group.choose(hash: $0 &* 0x9E37_79B9) }) }
        #expect(chosen() == [0, 1, 2], "fail-open before the first check")
        _ = group.report(1, isSuccess: true)
        #expect(chosen() == [1], "those in state initial wait")
        _ = group.report(2, isSuccess: true)
        #expect(chosen() == [1, 2])
        _ = group.report(1, isSuccess: false)
        #expect(chosen() == [2])
        _ = group.report(2, isSuccess: false)
        #expect(chosen() == [0, 1, 2], "fail-open when none is healthy")
    }

    @Test func failover() {
        for failover in Failover.allCases {
            var group = Self.group(2, failover: failover, healthy: 1, unhealthy: 1)
            _ = group.report(0, isSuccess: true)
            _ = group.report(1, isSuccess: true)
            #expect(group.route(current: 0, hash: 4) == 0)
            _ = group.report(0, isSuccess: false)
            #expect(group.route(current: 0, hash: 4) == (failover == .rebalance ? 1 : 0))
            #expect(group.route(current: 1, hash: 4) == 1)
            _ = group.report(1, isSuccess: false)
            #expect(group.route(current: 0, hash: 5) == 0, "nowhere to go")
            #expect(group.route(current: 1, hash: 4) == 1, "nowhere to go")
        }
    }
}
