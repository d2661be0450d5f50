import Verification
import Wire

/// A gateway load balancer without its wires: packets of hosts go in and come out wrapped,
/// answers of appliances go in and come out checked. Single-threaded; time is passed in.
///
/// Hosts live on two sides, `a` and `b`. A pair is one connection between them, with a GWLB
/// endpoint of its own: what comes in on one side of a pair is delivered on the other.
public struct GatewayEmulator: Sendable {
    public enum Side: Int, CaseIterable, Sendable {
        case a, b
    }

    public struct Settings: Sendable {
        /// GWLB node addresses, host order.
        public var nodes: [UInt32]
        /// Appliances, host order.
        public var targets: [UInt32]
        /// One for each pair.
        public var endpoints: [UInt64]
        public var health = HealthSettings()
        public var failover = Failover.noRebalance
        public var stickiness = Stickiness.fiveTuple
        public var outerChecksum = OuterChecksum.valid
        /// Packets of lost TCP flows are answered by resets.
        public var resetsTCP = false
        public var expectation = Behaviour.any
        public var window = WindowSettings()
        /// Cookies and source ports repeat for one seed.
        public var seed: UInt64

        public init(nodes: [UInt32], targets: [UInt32], endpoints: [UInt64], seed: UInt64) {
            self.nodes = nodes
            self.targets = targets
            self.endpoints = endpoints
            self.seed = seed
        }
    }

    /// An inner packet for a host.
    public struct Delivery: Equatable, Sendable {
        public var pair: Int
        public var side: Side
        /// Where it lies in the view.
        public var offset: Int
        public var length: Int

        public init(pair: Int, side: Side, offset: Int, length: Int) {
            self.pair = pair
            self.side = side
            self.offset = offset
            self.length = length
        }
    }

    public struct Counters: Equatable, Sendable {
        /// Packets of hosts that were wrapped and sent.
        public var encapsulated: UInt64 = 0
        /// Inner packets handed to hosts; the caller counts them with `countDelivered`.
        public var delivered: UInt64 = 0
        /// Packets sent to an unhealthy target that have not come back.
        public var lostToUnhealthy: UInt64 = 0
        /// Packets of hosts that no load balancer carries: multicast, link-local, malformed.
        public var ignored: UInt64 = 0
        /// Packets of hosts longer than 8500 bytes.
        public var tooBig: UInt64 = 0
        /// Resets handed to hosts; counted with `countReset`.
        public var resets: UInt64 = 0
        /// Wrapped packets that the kernel refused to send; counted with `countRefused`.
        public var refused: UInt64 = 0
    }

    public let settings: Settings
    public private(set) var counters = Counters()
    public private(set) var violations = ViolationCounts()
    public var group: TargetGroup
    private var flows: FlowDirectory
    private var check: ReturnCheck

    public init(_ settings: Settings) {
        self.settings = settings
        group = TargetGroup(
            addresses: settings.targets, health: settings.health, failover: settings.failover)
        var directory = FlowDirectory.Settings(nodes: settings.nodes, seed: settings.seed)
        directory.stickiness = settings.stickiness
        flows = FlowDirectory(directory)
        check = ReturnCheck(settings.expectation, settings: settings.window)
    }

    public var expectedDrops: UInt64 { check.expectedDrops }
    /// Flows begun so far.
    public var flowsCreated: UInt64 { flows.created }

    /// A packet of a host: wraps it for its flow's target and remembers it.
    /// - Parameter view: 68 bytes to write, then the inner packet up to the end.
    /// - Returns: true when the whole view is to be sent.
    public mutating func wrap(
        _ view: PacketView, pair: Int, from side: Side, at now: UInt64
    ) -> Bool {
        guard let inner = InnerPacket(view, at: Encapsulation.overhead), !inner.isLocalScope
        else {
            counters.ignored += 1
            return false
        }
        guard view.count - Encapsulation.overhead <= Encapsulation.largestInner else {
            counters.tooBig += 1
            return false
        }
        let endpoint = settings.endpoints[pair]
        let slot = flows.slot(for: inner, endpoint: endpoint, at: now) { [group] hash in
            let index = group.choose(hash: hash)
            return (index, group.targets[index].address)
        }
        failOver(slot)
        let target = flows[slot].target
        let isUnhealthy = group.targets[target].state == .unhealthy
        Encapsulation.write(flows[slot].header, checksum: settings.outerChecksum, to: view)
        let comesBack = check.sent(
            view, inner, endpoint: endpoint, flow: flows[slot].number,
            origin: pair * 2 + side.rawValue, mark: isUnhealthy, at: now)
        if isUnhealthy, comesBack { counters.lostToUnhealthy += 1 }
        group.countSent(target)
        counters.encapsulated += 1
        return true
    }

    /// A TCP packet in mid-flow of a flow that is unknown, over, or stays on an unhealthy target: turns
    /// it into the reset that GWLB answers, where that is asked for, and forgets the flow.
    /// - Parameter view: as `wrap`.
    /// - Returns: the reset, for the sender; nil when the packet is to be wrapped.
    public mutating func reset(
        _ view: PacketView, pair: Int, from side: Side, at now: UInt64
    ) -> Delivery? {
        guard settings.resetsTCP, let inner = InnerPacket(view, at: Encapsulation.overhead),
            !inner.isLocalScope
        else { return nil }
        let slot = flows.slot(of: inner, endpoint: settings.endpoints[pair])
        if let slot, flows.isLive(slot, at: now), !isStuck(slot) { return nil }
        guard let length = TCPReset.answer(view, inner) else { return nil }
        if let slot { flows.remove(slot) }
        return Delivery(pair: pair, side: side, offset: inner.start, length: length)
    }

    /// Its target is unhealthy, and it stays there.
    private func isStuck(_ slot: Int) -> Bool {
        let target = flows[slot].target
        return group.targets[target].state == .unhealthy
            && group.route(current: target, hash: flows[slot].hash) == target
    }

    /// Moves a flow away from an unhealthy target where that is asked for.
    private mutating func failOver(_ slot: Int) {
        let old = flows[slot].target
        let new = group.route(current: old, hash: flows[slot].hash)
        guard new != old else { return }
        flows[slot].previousTarget = group.targets[old].address
        flows[slot].target = new
        flows[slot].header.target = group.targets[new].address
    }

    /// A packet that came in on a node's address: judges it, and says where its inner packet is
    /// to be delivered. Nil when nowhere: outer addresses, ports or Geneve bytes are wrong, or it
    /// belongs to no flow.
    /// - Parameter view: from the outer IPv4 header on.
    public mutating func unwrap(_ view: PacketView, at now: UInt64) -> Delivery? {
        guard let packet = ReturnedPacket(view) else {
            violations.add(.unexpected)
            return nil
        }
        if let sender = group.index(of: packet.source) { group.countReceived(sender) }
        guard let slot = flowSlot(of: packet, view) else {
            violations.add(.unexpected)
            return nil
        }
        let flow = flows[slot]
        // Sound: ReturnedPacket has found `end` within the view.
        let datagram = unsafe PacketView(unsafeBase: view.pointer(0), count: packet.end)
        let judgement = check.returned(
            datagram, packet, header: flow.header, flow: flow.number,
            previousTarget: flow.previousTarget, at: now)
        if judgement.mark { counters.lostToUnhealthy -= 1 }
        if let violation = judgement.violation {
            violations.add(violation)
            if violation == .addresses || violation == .ports || violation == .geneve {
                return nil
            }
        }
        guard let origin = judgement.origin else { return nil }
        let side: Side = origin & 1 == Side.a.rawValue ? .b : .a
        return Delivery(
            pair: origin / 2, side: side, offset: packet.inner,
            length: packet.end - packet.inner)
    }

    /// By cookie, or by the inner tuple when the cookie is wrong.
    private func flowSlot(of packet: ReturnedPacket, _ view: PacketView) -> Int? {
        if let slot = flows.slot(cookie: packet.cookie(view)) { return slot }
        guard let inner = InnerPacket(view, at: packet.inner) else { return nil }
        if let slot = flows.slot(of: inner, endpoint: packet.options(view).endpoint) { return slot }
        for endpoint in settings.endpoints {
            if let slot = flows.slot(of: inner, endpoint: endpoint) { return slot }
        }
        return nil
    }

    public mutating func countReset() { counters.resets += 1 }
    public mutating func countDelivered() { counters.delivered += 1 }
    public mutating func countRefused(_ packets: Int) { counters.refused += UInt64(packets) }

    /// A few times a second: forgets what is over.
    public mutating func keepHouse(at now: UInt64) {
        flows.sweep(1024, at: now)
        check.sweep(1024, at: now)
    }
}
