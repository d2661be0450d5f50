/// When a target counts as healthy (docs/gateway.md), with GWLB's defaults.
public struct HealthSettings: Sendable {
    /// Successes in a row that make a target healthy.
    public var healthyThreshold = 5
    /// Failures in a row that make it unhealthy.
    public var unhealthyThreshold = 2
    /// From check to check, nanoseconds.
    public var interval: UInt64 = 10_000_000_000

    public init() {}
}

/// What becomes of a target's flows when it turns unhealthy (docs/gateway.md).
public enum Failover: String, CaseIterable, Sendable {
    /// They keep going to it.
    case noRebalance = "no_rebalance"
    /// They move to healthy targets.
    case rebalance
}

/// The appliances behind the load balancer: their health, and who gets which flow. A state
/// machine without I/O; time is passed in.
public struct TargetGroup: Sendable {
    public enum State: String, Sendable {
        /// Not checked often enough yet.
        case initial
        case healthy, unhealthy
    }

    public struct Target: Sendable {
        /// Host order.
        public let address: UInt32
        public fileprivate(set) var state = State.initial
        /// Packets sent to it and received from it.
        public var sent: UInt64 = 0
        public var received: UInt64 = 0
        fileprivate var successes = 0
        fileprivate var failures = 0
        fileprivate var nextCheck: UInt64 = 0
    }

    public let health: HealthSettings
    public let failover: Failover
    public private(set) var targets: [Target]
    /// Indices of the targets that new flows go to: the healthy ones, or all when none is
    /// (fail-open).
    public private(set) var eligible: [Int]
    private let indexOfAddress: [UInt32: Int]

    /// - Parameter addresses: host order, at least one, all different.
    public init(addresses: [UInt32], health: HealthSettings, failover: Failover) {
        precondition(!addresses.isEmpty)
        self.health = health
        self.failover = failover
        targets = addresses.map { Target(address: $0) }
        eligible = Array(addresses.indices)
        indexOfAddress = Dictionary(uniqueKeysWithValues: zip(addresses, addresses.indices))
    }

    public func index(of address: UInt32) -> Int? { indexOfAddress[address] }

    /// Targets to be checked now; each again after the interval.
    public mutating func dueChecks(at now: UInt64) -> [Int] {
        targets.indices.filter { i in
            guard now >= targets[i].nextCheck else { return false }
            targets[i].nextCheck = now + health.interval
            return true
        }
    }

    /// When the next check is due.
    public var nextCheck: UInt64 { targets.map(\.nextCheck).min() ?? 0 }

    /// Takes the result of one check. Returns the target's new state when that changed it.
    public mutating func report(_ index: Int, isSuccess: Bool) -> State? {
        let old = targets[index].state
        if isSuccess {
            targets[index].failures = 0
            targets[index].successes += 1
            if targets[index].successes >= health.healthyThreshold {
                targets[index].state = .healthy
            }
        } else {
            targets[index].successes = 0
            targets[index].failures += 1
            if targets[index].failures >= health.unhealthyThreshold {
                targets[index].state = .unhealthy
            }
        }
        guard targets[index].state != old else { return nil }
        let healthy = targets.indices.filter { targets[$0].state == .healthy }
        eligible = healthy.isEmpty ? Array(targets.indices) : healthy
        return targets[index].state
    }

    /// The target of a new flow.
    public func choose(hash: UInt64) -> Int {
        eligible[Int(hash & 0xFFFF_FFFF) % eligible.count]
    }

    /// Where a flow's next packet goes: its target, or another one when its target is unhealthy,
    /// flows are rebalanced and there is a healthy one.
    public func route(current: Int, hash: UInt64) -> Int {
        guard failover == .rebalance, targets[current].state == .unhealthy,
            targets[eligible[0]].state == .healthy
        else { return current }
        return choose(hash: hash)
    }

    public mutating func countSent(_ index: Int) { targets[index].sent += 1 }
    public mutating func countReceived(_ index: Int) { targets[index].received += 1 }
}
