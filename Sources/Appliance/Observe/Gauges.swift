import CSluice
import Configuration
import Dataplane
import PacketIO
import RuleEngine
import Support
import Synchronization
import Wire

/// What the appliance's parts share: written by workers and the control loop, read by HTTP.
final class Gauges: Sendable {
    let backend: IOBackend
    let workers: [WorkerThread]
    let processor: ProcessorShape
    let configuration: ConfigurationControl
    private let interfaces: [String]
    private let unclaimed: UnclaimedPackets
    /// Of each worker's table.
    private let flowCapacity: Int
    let started = sluice_monotonic_ns()
    let isDraining = Atomic(false)
    /// Busy share of the last second, by worker; sampled by the control loop.
    private let busy: Mutex<[Double]>
    /// What should be served and is not there, in words.
    private let missing = Mutex<[String]>([])
    /// Commands that end the merging of packets.
    private let merging = Mutex<[String]>([])

    init(
        backend: IOBackend, workers: [WorkerThread], processor: ProcessorShape,
        configuration: ConfigurationControl, interfaces: [String], unclaimed: UnclaimedPackets,
        flowCapacity: Int
    ) {
        self.backend = backend
        self.workers = workers
        self.processor = processor
        self.configuration = configuration
        self.interfaces = interfaces
        self.unclaimed = unclaimed
        self.flowCapacity = flowCapacity
        busy = Mutex([Double](repeating: 0, count: workers.count))
    }

    func note(_ host: borrowing HostFollower) {
        missing.withLock { $0 = host.missing }
        merging.withLock { $0 = host.merging.map(\.remedy) }
    }

    func setBusy(_ ratios: [Double]) { busy.withLock { $0 = ratios } }

    var packetsReceived: UInt64 { workers.reduce(0) { $0 + $1.counters.read(.packetsReceived) } }

    var health: Health {
        health(
            isDraining: isDraining.load(ordering: .relaxed), missing: missing.withLock { $0 },
            merging: merging.withLock { $0 })
    }

    /// The workers' health alone.
    var progress: Health { health(isDraining: false, missing: [], merging: []) }

    private func health(isDraining: Bool, missing: [String], merging: [String]) -> Health {
        Health(
            now: sluice_monotonic_ns(), heartbeats: workers.map { $0.counters.read(.heartbeat) },
            isDraining: isDraining, missing: missing, merging: merging)
    }

    func read() -> Readings {
        var readings = Readings()
        let ratios = busy.withLock { $0 }
        readings.workers = zip(workers, ratios).map { read($0, busy: $1) }
        readings.rules = readRules()
        readings.reloads = configuration.reloads
        readings.snapshots = PolicySnapshot.live
        readings.processorCounters = ProcessorReading.names(processor.parts)
        readings.endpoints = readEndpoints()
        readings.health = health
        readings.version = SluiceVersion.text
        readings.backend = backend.rawValue
        readings.uptime = Double(sluice_monotonic_ns() - started) / 1e9
        readings.process = .now()
        readings.unclaimed = unclaimed.read()
        readings.allowances = CardAllowances.read(interfaces)
        return readings
    }

    private func read(_ worker: WorkerThread, busy: Double) -> Readings.WorkerReading {
        var reading = Readings.WorkerReading()
        reading.cpu = worker.cpu
        reading.generation = worker.link.generation
        reading.flowCapacity = flowCapacity
        // Received last: a packet in flight may then count as received and not yet as decided,
        // never the other way round.
        for reason in DropReason.allCases { reading.drops[reason] = worker.counters.read(reason) }
        for id in CounterID.allCases.reversed() { reading.values[id] = worker.counters.read(id) }
        reading.bursts = worker.counters.readBursts()
        let now = sluice_monotonic_ns()
        let beat = reading[.heartbeat]
        reading.heartbeatAge = beat == 0 || beat > now ? 0 : Double(now - beat) / 1e9
        reading.busyRatio = busy
        for part in processor.parts.indices {
            let events = worker.counters.readEvents(part: part)
            reading.eventsEmitted += events.emitted
            reading.eventsLost += events.lost
            for (name, slot) in processor.parts[part].counters {
                reading.processor[ProcessorReading.metricName(name), default: 0] +=
                    worker.counters.read(part: part, slot: slot)
            }
        }
        return reading
    }

    /// Rules of the same name, of several parts of a chain or of one and the policy, count together.
    private func readRules() -> [(name: String, hits: UInt64)] {
        var rules = configuration.ruleHits
        guard !processor.ruleNames.isEmpty else { return rules }
        var places = Dictionary(uniqueKeysWithValues: rules.enumerated().map { ($1.name, $0) })
        for (rule, name) in processor.ruleNames.enumerated() {
            let hits = workers.reduce(0) { $0 + $1.counters.readRule(rule) }
            if let place = places[name] {
                rules[place].hits += hits
            } else {
                places[name] = rules.count
                rules.append((name, hits))
            }
        }
        return rules
    }

    private func readEndpoints() -> [Readings.EndpointReading] {
        var sums: [String: Readings.EndpointReading] = [:]
        for entry in workers.flatMap({ $0.counters.readEndpoints() }) {
            let name = entry.endpoint.map(EndpointID.format) ?? "other"
            sums[name, default: .init(name: name)].forwarded += entry.forwarded
            sums[name, default: .init(name: name)].dropped += entry.dropped
        }
        return sums.values.sorted { $0.name < $1.name }
    }
}
