import Verification
import Wire

/// What GWLB keeps together on one target (docs/gateway.md).
public enum Stickiness: Int, CaseIterable, Sendable {
    /// Addresses, protocol, ports; for protocols without ports and fragments as `threeTuple`.
    case fiveTuple = 5
    /// Addresses and protocol.
    case threeTuple = 3
    /// Addresses.
    case twoTuple = 2

    /// The flow's key: symmetric, with zeros for what this stickiness does not look at.
    func key(of inner: InnerPacket, endpoint: UInt64) -> FlowKey {
        var key = inner.key(endpoint: endpoint)
        // A flow of GWLB's does not tell fragments from whole packets without ports.
        key.fragment = 0
        if self != .fiveTuple {
            key = FlowKey(
                endpoint: endpoint, version: inner.version,
                protocolNumber: self == .threeTuple ? inner.protocolNumber : 0,
                source: inner.source, destination: inner.destination,
                sourcePort: 0, destinationPort: 0, isFragment: false)
        }
        return key
    }
}

/// One flow of the load balancer.
public struct GatewayFlow: Sendable {
    public let key: FlowKey
    public var header: GatewayHeader
    /// Index of its target in the target group.
    public var target: Int
    /// Where it went before a rebalance, host order; the target's own address until then.
    public var previousTarget: UInt32
    /// Monotonic nanoseconds.
    public var lastSeen: UInt64
    /// The flow is over after this time without a packet, nanoseconds.
    public var idle: UInt64
    /// Spreads flows over nodes and targets.
    public let hash: UInt64
    /// Different for every flow, also for two that had the same slot.
    public let number: UInt64
}

/// The flows of the load balancer: each with its own source port and cookie, equal in both
/// directions, from first packet to idle expiry. Time is passed in.
public struct FlowDirectory: Sendable {
    public struct Settings: Sendable {
        /// GWLB nodes, host order; at least one. A flow's hash names its node.
        public var nodes: [UInt32]
        public var stickiness = Stickiness.fiveTuple
        /// Idle times, nanoseconds.
        public var tcpIdle: UInt64 = 350_000_000_000
        public var otherIdle: UInt64 = 120_000_000_000
        /// Cookies and ports repeat for one seed.
        public var seed: UInt64

        public init(nodes: [UInt32], seed: UInt64) {
            self.nodes = nodes
            self.seed = seed
        }
    }

    public let settings: Settings
    /// Flows begun so far.
    public private(set) var created: UInt64 = 0
    private var random: SplitMix64
    private let hashSeed: UInt64
    private var slots: [GatewayFlow?] = []
    private var free: [Int] = []
    private var slotOfKey: [HashedKey: Int] = [:]
    private var slotOfCookie: [UInt32: Int] = [:]
    private var sweepAt = 0

    public init(_ settings: Settings) {
        precondition(!settings.nodes.isEmpty)
        self.settings = settings
        random = SplitMix64(seed: settings.seed)
        hashSeed = random.next()
    }

    /// Flows in the directory, those idle too long but not swept yet included.
    public var live: Int { slotOfKey.count }

    /// The flow in a slot that a lookup named. - Precondition: it has not expired since.
    public subscript(slot: Int) -> GatewayFlow {
        get { slots[slot]! }
        _modify { yield &slots[slot]! }
    }

    /// The flow of a packet that is to be sent, begun on first sight or anew after its idle time.
    /// - Parameter choose: the target for a new flow's hash: its index and address (host order).
    /// - Returns: its slot.
    public mutating func slot(
        for inner: InnerPacket, endpoint: UInt64, at now: UInt64,
        choose: (UInt64) -> (index: Int, address: UInt32)
    ) -> Int {
        let key = settings.stickiness.key(of: inner, endpoint: endpoint)
        let idle = inner.protocolNumber == IPProtocol.tcp ? settings.tcpIdle : settings.otherIdle
        if let slot = slotOfKey[HashedKey(key)] {
            if isLive(slot, at: now) {
                slots[slot]!.lastSeen = now
                slots[slot]!.idle = max(idle, slots[slot]!.idle)
                return slot
            }
            remove(slot)
        }
        return begin(key, idle: idle, at: now, choose)
    }

    /// The live flow with this cookie. Cookies are unique among live flows.
    public func slot(cookie: UInt32) -> Int? { slotOfCookie[cookie] }

    /// The live flow of an inner packet.
    public func slot(of inner: InnerPacket, endpoint: UInt64) -> Int? {
        slotOfKey[HashedKey(settings.stickiness.key(of: inner, endpoint: endpoint))]
    }

    /// Forgets flows that were idle too long, looking at `count` slots per call.
    public mutating func sweep(_ count: Int, at now: UInt64) {
        for _ in 0..<min(count, slots.count) {
            sweepAt = sweepAt + 1 < slots.count ? sweepAt + 1 : 0
            if let flow = slots[sweepAt], now &- flow.lastSeen > flow.idle { remove(sweepAt) }
        }
    }

    private mutating func begin(
        _ key: FlowKey, idle: UInt64, at now: UInt64,
        _ choose: (UInt64) -> (index: Int, address: UInt32)
    ) -> Int {
        let hash = key.hash(seed: hashSeed)
        let target = choose(hash)
        created += 1
        let header = GatewayHeader(
            node: settings.nodes[Int((hash >> 32) % UInt64(settings.nodes.count))],
            target: target.address, sourcePort: freshPort(), endpoint: key.endpoint,
            cookie: freshCookie(), innerVersion: key.version)
        let flow = GatewayFlow(
            key: key, header: header, target: target.index, previousTarget: target.address,
            lastSeen: now, idle: idle, hash: hash, number: created)
        let slot: Int
        if let reused = free.popLast() {
            slot = reused
            slots[slot] = flow
        } else {
            slot = slots.count
            slots.append(flow)
        }
        slotOfKey[HashedKey(key)] = slot
        slotOfCookie[header.cookie] = slot
        return slot
    }

    /// Whether the flow's idle time is not over yet.
    public func isLive(_ slot: Int, at now: UInt64) -> Bool {
        slots[slot].map { now &- $0.lastSeen <= $0.idle } ?? false
    }

    /// Ends a flow before its time.
    public mutating func remove(_ slot: Int) {
        guard let flow = slots[slot] else { return }
        slotOfKey[HashedKey(flow.key)] = nil
        slotOfCookie[flow.header.cookie] = nil
        slots[slot] = nil
        free.append(slot)
    }

    /// Never 6081, so that swapped ports can be told.
    private mutating func freshPort() -> UInt16 {
        while true {
            let port = UInt16.random(in: 1024...65535, using: &random)
            if port != GeneveHeader.port { return port }
        }
    }

    private mutating func freshCookie() -> UInt32 {
        while true {
            let cookie = UInt32.random(in: 1...UInt32.max, using: &random)
            if slotOfCookie[cookie] == nil { return cookie }
        }
    }
}
