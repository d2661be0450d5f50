import Wire

/// Everything that a load run is told: where to, what and how fast.
public struct TrafficPlan: Sendable {
    /// The interface that packets leave by and come back to.
    public var interface: String
    /// The appliance, host order: the one address that packets are sent to.
    public var target: UInt32
    /// The GWLB nodes, host order, all of them addresses of the interface; empty = the interface's own.
    public var sources: [UInt32] = []

    public var endpoints = 1
    /// 1 to `largestFlowCount`.
    public var flows = 1000
    /// Exponent of the flows' popularity; 0 = all alike.
    public var zipf = 0.0
    /// Flows that end every second, each followed by a new one with its addresses and another cookie.
    public var churn = 0.0

    public var load = LoadProfile.constant(.packetsPerSecond(10_000))
    /// Seconds.
    public var duration = 10.0
    /// Packets after which sending ends, before the duration is over or after.
    public var count: UInt64?

    public var sizes = SizeMix.standard
    public var protocols: [Weighted<InnerProtocol>] = [
        Weighted(.udp, 70), Weighted(.tcp, 20), Weighted(.icmp, 10),
    ]
    public var payloads: [Weighted<PayloadTemplate>] = [Weighted(.neutral, 1)]
    public var expectation = Expectation.reflect
    public var bothDirections = false
    /// Shares, 0 to 1: of the flows, of the packets, of the packets.
    public var ipv6 = 0.0
    public var fragments = 0.0
    public var malformed = 0.0
    public var outerChecksum = OuterChecksum.valid
    /// What is sent instead of made-up traffic: whole inner packets.
    public var replay: [[UInt8]]?

    public var threads = 1
    public var seed: UInt64 = 1
    /// The share of packets that may get lost, 0 to 1.
    public var maxLoss = 0.0
    /// A packet that takes longer to come back is late, seconds.
    public var lateAfter = 1.0
    /// The flags as given, for the report.
    public var config: [String: String] = [:]

    /// The cookie holds a flow's number in 24 bits, the highest of which name malformed packets.
    public static let largestFlowCount = 10_000_000

    /// A duration for runs that only a count or a signal ends, seconds.
    public static let unbounded = 365.0 * 24 * 3600

    public init(interface: String, target: UInt32) {
        self.interface = interface
        self.target = target
    }

    /// The largest outer packet that will be sent, bytes.
    public var largestOuter: Int {
        let malformed = malformed > 0 ? MalformedCorpus.largest : 0
        let largest = replay.map { $0.map(\.count).max() ?? 0 } ?? sizes.largest
        return max(largest + Encapsulation.overhead, malformed)
    }
}

extension MalformedCorpus {
    /// The largest of its packets, bytes.
    static let largest = 512
}

/// What a right appliance does.
public enum Expectation: String, CaseIterable, Sendable {
    /// What the blog policy makes of it: see `BlogOracle`.
    case blog
    /// Everything comes back unchanged.
    case reflect
}

/// What the inner packets of a flow are.
public enum InnerProtocol: String, CaseIterable, Sendable {
    case udp, tcp, icmp
    /// A protocol that nobody looks into.
    case other
}

/// A choice and how often it is made, in relation to the others.
public struct Weighted<Value: Sendable>: Sendable {
    public var value: Value
    public var weight: Double

    public init(_ value: Value, _ weight: Double) {
        self.value = value
        self.weight = weight
    }
}

/// Sizes of the inner packets, bytes, and how often each occurs.
public struct SizeMix: Sendable {
    public var sizes: [Weighted<Int>]

    /// Smallest and largest inner packet: room for a stamp behind TCP over IPv6, and what GWLB
    /// carries.
    public static let allowed = 64...Encapsulation.largestInner
    /// The sizes that stand for a range.
    static let rangeSteps = 64

    public static let standard = SizeMix.fixed(128)

    public init(_ sizes: [Weighted<Int>]) {
        precondition(!sizes.isEmpty)
        self.sizes = sizes
    }

    public static func fixed(_ size: Int) -> SizeMix { SizeMix([Weighted(size, 1)]) }

    /// The simple Internet mix: 7 of 64, 4 of 576, 1 of 1500 bytes.
    public static let imix = SizeMix([Weighted(64, 7), Weighted(576, 4), Weighted(1500, 1)])

    /// Sizes evenly spread over a range, both ends among them.
    public static func range(_ range: ClosedRange<Int>) -> SizeMix {
        let steps = min(rangeSteps, range.count)
        guard steps > 1 else { return fixed(range.lowerBound) }
        return SizeMix(
            (0..<steps).map {
                Weighted(range.lowerBound + (range.count - 1) * $0 / (steps - 1), 1)
            })
    }

    public var largest: Int { sizes.map(\.value).max()! }
    public var smallest: Int { sizes.map(\.value).min()! }

    /// Mean size, bytes.
    public var mean: Double {
        let total = sizes.reduce(0) { $0 + $1.weight }
        return sizes.reduce(0) { $0 + Double($1.value) * $1.weight } / total
    }
}
