import Support
import Verification

/// What a load run found: the JSON report, and what people are shown.
public struct RunReport: Codable, Sendable {
    /// Packets.
    public var sent: UInt64 = 0
    public var received: UInt64 = 0
    /// Packets that the appliance was expected to drop.
    public var expectedDrops: UInt64 = 0
    /// Packets that should have come back and did not.
    public var lost: UInt64 = 0
    /// `lost` as a share of the packets that should have come back, 0 to 1.
    public var loss: Double = 0
    /// By the names of `Violation`.
    public var violations: [String: UInt64] = [:]
    /// Offered, over the time of sending. Bits count the outer IPv4 packet.
    public var ratePps: Double = 0
    public var rateBps: Double = 0
    /// Time of sending, seconds.
    public var durationS: Double = 0
    public var latencyNs = Latency()
    /// The generator could not keep its own schedule: the figures say nothing of the appliance.
    public var generatorLimited = false
    /// Why, one sentence each.
    public var limits: [String] = []
    /// The furthest that sending fell behind the schedule, nanoseconds.
    public var behindNs: UInt64 = 0
    /// Packets that came back and found the generator's receive ring full; counted as lost.
    public var receiveOverflow: UInt64 = 0
    /// Packets that the interface did not take; counted as lost.
    public var sendRefused: UInt64 = 0
    /// Class of traffic ("neutral", "drop", "rewrite", "icmp", "malformed" …) to its counts.
    public var classes: [String: ClassCount] = [:]
    /// One entry a second, for plots.
    public var intervals: [Interval] = []
    /// Every option of the run, by its flag's name without the dashes.
    public var config: [String: String] = [:]
    public var about: About?

    public struct Latency: Codable, Sendable {
        /// Nanoseconds; 0 without samples.
        public var p50: UInt64 = 0
        public var p90: UInt64 = 0
        public var p99: UInt64 = 0
        public var p999: UInt64 = 0
        public var max: UInt64 = 0
        public var samples: UInt64 = 0
        /// The distribution, for plots: [share of packets 0 to 1, nanoseconds], ascending.
        public var distribution: [[Double]] = []

        public init() {}
    }

    public struct ClassCount: Codable, Sendable {
        public var sent: UInt64 = 0
        public var received: UInt64 = 0
        public var expectedDrops: UInt64 = 0
        public var lost: UInt64 = 0

        public init() {}

        enum CodingKeys: String, CodingKey {
            case sent, received, lost
            case expectedDrops = "expected_drops"
        }
    }

    public struct Interval: Codable, Sendable {
        /// Seconds since the start of sending, at the interval's end.
        public var second: Double = 0
        public var sent: UInt64 = 0
        public var received: UInt64 = 0
        public var expectedDrops: UInt64 = 0
        public var lost: UInt64 = 0
        public var violations: UInt64 = 0
        public var p50Ns: UInt64 = 0
        public var p99Ns: UInt64 = 0

        public init() {}

        enum CodingKeys: String, CodingKey {
            case second, sent, received, lost, violations
            case expectedDrops = "expected_drops"
            case p50Ns = "p50_ns"
            case p99Ns = "p99_ns"
        }
    }

    public init() {}

    enum CodingKeys: String, CodingKey {
        case sent, received, lost, loss, violations, classes, intervals, config, about
        case expectedDrops = "expected_drops"
        case ratePps = "rate_pps"
        case rateBps = "rate_bps"
        case durationS = "duration_s"
        case latencyNs = "latency_ns"
        case generatorLimited = "generator_limited"
        case limits
        case behindNs = "behind_ns"
        case receiveOverflow = "receive_overflow"
        case sendRefused = "send_refused"
    }

    public var violationTotal: UInt64 { violations.values.reduce(0, +) }

    /// Nothing at all came back of what should have.
    public var isUnanswered: Bool {
        received == 0 && sent > expectedDrops && violationTotal == 0
    }

    /// Only pings were lost, and all were expected back.
    public var losesOnlyPings: Bool {
        lost > 0 && received > 0 && config["expect"] != Expectation.blog.rawValue
            && classes.allSatisfy { $0.key == TrafficClass.icmp.name || $0.value.lost == 0 }
    }
}
