import Dataplane
import Support

/// The bodies of `/status` and `/health`.
enum StatusJSON {
    static func health(_ health: Health) -> String {
        JSONText.line(HealthBody(status: health.status, reason: health.reason)) + "\n"
    }

    static func status(_ readings: Readings) -> String { JSONText.line(Status(readings)) + "\n" }

    private struct HealthBody: Encodable {
        var status: String
        var reason: String
    }

    private struct Status: Encodable {
        var version: String
        var io: String
        var uptimeSeconds: Double
        var draining: Bool
        var generation: UInt64
        var snapshots: Int
        var health: HealthBody
        var config: ConfigStatus
        var totals: Counts
        /// What the reasons mean for which packets were dropped.
        var dropReasons: [String: String]
        var rules: [String: UInt64]
        var endpoints: [String: [String: UInt64]]
        var processor: [String: UInt64]
        var workers: [WorkerStatus]
        /// Everything that `/metrics` shows: all of the above and more.
        var metrics: MetricsJSON

        init(_ r: Readings) {
            version = r.version
            io = r.backend
            uptimeSeconds = r.uptime
            draining = r.health == .draining
            generation = r.reloads.generation
            snapshots = r.snapshots
            health = HealthBody(status: r.health.status, reason: r.health.reason)
            config = ConfigStatus(r.reloads)
            totals = Counts(r.workers)
            dropReasons = Dictionary(
                uniqueKeysWithValues: DropReason.allCases.filter { r.total($0) > 0 }
                    .map { ($0.label, $0.sentence) })
            rules = Dictionary(r.rules.map { ($0.name, $0.hits) }) { $0 + $1 }
            endpoints = Dictionary(
                r.endpoints.map { ($0.name, ["forward": $0.forwarded, "drop": $0.dropped]) }
            ) { first, _ in first }
            processor = Dictionary(
                uniqueKeysWithValues: r.processorCounters.map { name in
                    (name, r.workers.reduce(0) { $0 + ($1.processor[name] ?? 0) })
                })
            workers = r.workers.enumerated().map { WorkerStatus(index: $0, $1) }
            metrics = MetricsJSON(r)
        }
    }

    /// The file in force, and how the last reload went.
    private struct ConfigStatus: Encodable {
        var path: String?
        var sha256: String?
        var lastReload: LastReload

        struct LastReload: Encodable {
            var succeeded: Bool
            /// Unix time.
            var time: Double
            var durationSeconds: Double
            var errors: [String]
        }

        init(_ reading: ReloadReading) {
            path = reading.path
            sha256 = reading.digest
            lastReload = LastReload(
                succeeded: reading.lastSucceeded, time: reading.lastTime,
                durationSeconds: reading.lastDuration, errors: reading.lastErrors)
        }
    }

    private struct WorkerStatus: Encodable {
        var worker: Int
        var cpu: Int
        var generation: UInt64
        var counts: Counts
        var heartbeatAgeSeconds: Double
        var busyRatio: Double

        init(index: Int, _ reading: Readings.WorkerReading) {
            worker = index
            cpu = reading.cpu
            generation = reading.generation
            counts = Counts([reading])
            heartbeatAgeSeconds = reading.heartbeatAge
            busyRatio = reading.busyRatio
        }
    }

    /// `received == forwarded + dropped` at any quiet moment.
    private struct Counts: Encodable {
        var received, forwarded, dropped, rewritten, bytesReceived, bytesForwarded: UInt64
        var kernelDrops, sendRetries, flowsLive, flowsCreated, flowsExpired, flowsEvicted: UInt64
        var droppedByReason: [String: UInt64] = [:]

        init(_ workers: [Readings.WorkerReading]) {
            func sum(_ id: CounterID) -> UInt64 { workers.reduce(0) { $0 + $1[id] } }
            received = sum(.packetsReceived)
            forwarded = sum(.packetsForwarded)
            dropped = workers.reduce(0) { $0 + $1.dropped }
            rewritten = sum(.packetsRewritten)
            bytesReceived = sum(.bytesReceived)
            bytesForwarded = sum(.bytesForwarded)
            kernelDrops = sum(.kernelDrops)
            sendRetries = sum(.sendRetries)
            flowsLive = sum(.flowsLive)
            flowsCreated = sum(.flowsCreated)
            flowsExpired = sum(.flowsExpired)
            flowsEvicted = sum(.flowsEvicted)
            for reason in DropReason.allCases {
                let count = workers.reduce(0) { $0 + ($1.drops[reason] ?? 0) }
                if count > 0 { droppedByReason[reason.label] = count }
            }
        }
    }
}
