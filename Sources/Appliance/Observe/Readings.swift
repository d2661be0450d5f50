import Dataplane

/// All counters at one moment, as plain values: what metrics and status are rendered from.
public struct Readings: Sendable {
    public struct WorkerReading: Sendable {
        public var cpu = 0
        /// By `CounterID`, `DropReason` and rule.
        public var values: [CounterID: UInt64] = [:]
        public var drops: [DropReason: UInt64] = [:]
        /// By size: one for each of `CounterBlock.burstBounds`, then the larger ones.
        public var bursts = [UInt64](repeating: 0, count: CounterBlock.burstBounds.count + 1)
        public var eventsEmitted: UInt64 = 0
        public var eventsLost: UInt64 = 0
        /// The processor's own counters, by name.
        public var processor: [String: UInt64] = [:]
        /// Seconds since the last progress.
        public var heartbeatAge = 0.0
        /// Share of the last second spent on packets.
        public var busyRatio = 0.0
        /// Of the configuration that it has adopted.
        public var generation: UInt64 = 1
        /// Entries of its flow table.
        public var flowCapacity = 0

        public subscript(id: CounterID) -> UInt64 { values[id] ?? 0 }
        public var dropped: UInt64 { drops.values.reduce(0, +) }
    }

    public struct EndpointReading: Sendable, Equatable {
        /// `vpce-…`, or `other` for all that found no entry of their own.
        public var name: String
        public var forwarded: UInt64 = 0
        public var dropped: UInt64 = 0
    }

    public var workers: [WorkerReading] = []
    public var rules: [(name: String, hits: UInt64)] = []
    public var endpoints: [EndpointReading] = []
    public var reloads = ReloadReading()
    /// Names of the processor's own counters, in its order.
    public var processorCounters: [String] = []
    /// Generations of the configuration that are in memory.
    public var snapshots = 0
    public var health = Health.starting
    public var version = ""
    public var backend = ""
    /// Seconds since the start.
    public var uptime = 0.0
    public var process = ProcessReading()
    public var allowances: [AllowanceReading] = []
    /// Packets that reached port 6081 and that no worker took.
    public var unclaimed: UInt64 = 0

    public init() {}

    public func total(_ id: CounterID) -> UInt64 { workers.reduce(0) { $0 + $1[id] } }
    public func total(_ reason: DropReason) -> UInt64 {
        workers.reduce(0) { $0 + ($1.drops[reason] ?? 0) }
    }
    public var dropped: UInt64 { workers.reduce(0) { $0 + $1.dropped } }
}
