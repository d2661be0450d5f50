import CSluice
import Dataplane
import Glibc
import Synchronization
import Wire

/// All counters at one moment, as plain values: what metrics and status are rendered from.
public struct Readings: Sendable {
    public struct WorkerReading: Sendable {
        public var cpu = 0
        /// By `CounterID`, `DropReason` and rule.
        public var values: [CounterID: UInt64] = [:]
        public var drops: [DropReason: UInt64] = [:]
        public var bursts: [UInt64] = []
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

    public init() {}

    public func total(_ id: CounterID) -> UInt64 { workers.reduce(0) { $0 + $1[id] } }
    public func total(_ reason: DropReason) -> UInt64 {
        workers.reduce(0) { $0 + ($1.drops[reason] ?? 0) }
    }
    public var dropped: UInt64 { workers.reduce(0) { $0 + $1.dropped } }
}

/// What the appliance's parts share: written by workers and the control loop, read by HTTP.
final class Gauges: Sendable {
    let backend: IOBackend
    let workers: [WorkerThread]
    let processor: ProcessorShape
    let configuration: ConfigurationControl
    private let interfaces: [String]
    let started = sluice_monotonic_ns()
    let isDraining = Atomic(false)
    /// Busy share of the last second, by worker; sampled by the control loop.
    private let busy: Mutex<[Double]>

    init(
        backend: IOBackend, workers: [WorkerThread], processor: ProcessorShape,
        configuration: ConfigurationControl, interfaces: [String]
    ) {
        self.backend = backend
        self.workers = workers
        self.processor = processor
        self.configuration = configuration
        self.interfaces = interfaces
        busy = Mutex([Double](repeating: 0, count: workers.count))
    }

    func setBusy(_ ratios: [Double]) { busy.withLock { $0 = ratios } }

    var packetsReceived: UInt64 { workers.reduce(0) { $0 + $1.counters.read(.packetsReceived) } }

    var health: Health { health(isDraining: isDraining.load(ordering: .relaxed)) }

    /// The workers' health, draining or not.
    var progress: Health { health(isDraining: false) }

    private func health(isDraining: Bool) -> Health {
        Health(
            now: sluice_monotonic_ns(), heartbeats: workers.map { $0.counters.read(.heartbeat) },
            isDraining: isDraining)
    }

    func read() -> Readings {
        var readings = Readings()
        let ratios = busy.withLock { $0 }
        readings.workers = zip(workers, ratios).map { read($0, busy: $1) }
        readings.rules = processor.ruleNames.enumerated().map { rule, name in
            (name, workers.reduce(0) { $0 + $1.counters.readRule(rule) })
        }
        readings.rules += configuration.ruleHits
        readings.reloads = configuration.reloads
        readings.snapshots = PolicySnapshot.live
        readings.processorCounters = ProcessorReading.names(processor.parts)
        readings.endpoints = readEndpoints()
        readings.health = health
        readings.version = SluiceVersion.text
        readings.backend = backend.rawValue
        readings.uptime = Double(sluice_monotonic_ns() - started) / 1e9
        readings.process = .now()
        readings.allowances = CardAllowances.read(interfaces)
        return readings
    }

    private func read(_ worker: WorkerThread, busy: Double) -> Readings.WorkerReading {
        var reading = Readings.WorkerReading()
        reading.cpu = worker.cpu
        reading.generation = worker.link.generation
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

/// The processor's own counters.
enum ProcessorReading {
    /// Names as in metrics, each once, in the order of the parts.
    static func names(_ parts: [ProcessorPart]) -> [String] {
        var names: [String] = []
        for counter in parts.flatMap(\.counters) {
            let name = metricName(counter.name)
            if !names.contains(name) { names.append(name) }
        }
        return names
    }

    /// `dnsQueries` and `DNSQueries` → `dns_queries`. What cannot be in a metric's name becomes an
    /// underscore; cases that come out alike share a metric.
    static func metricName(_ name: String) -> String {
        let letters = Array(name)
        var text = ""
        for (i, letter) in letters.enumerated() {
            let isWord = letter.isASCII && (letter.isLetter || letter.isNumber)
            let startsWord =
                letter.isUppercase && i > 0
                && (!letters[i - 1].isUppercase
                    || i + 1 < letters.count && letters[i + 1].isLowercase)
            if startsWord, !text.isEmpty, !text.hasSuffix("_") { text += "_" }
            text += isWord ? letter.lowercased() : "_"
        }
        return text
    }
}

/// What the operating system says of this process.
public struct ProcessReading: Sendable {
    public var cpuSeconds = 0.0
    public var residentBytes: UInt64 = 0
    public var virtualBytes: UInt64 = 0
    /// Unix time.
    public var startTime = 0.0
    public var openDescriptors = 0
    public var maxDescriptors: UInt64 = 0

    public init() {}

    static func now() -> ProcessReading {
        var reading = ProcessReading()
        var usage = timespec()
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &usage)
        reading.cpuSeconds = Double(usage.tv_sec) + Double(usage.tv_nsec) / 1e9
        let pages = ProcFile.read("/proc/self/statm").split(separator: " ").compactMap {
            UInt64($0)
        }
        let pageSize = UInt64(sysconf(Int32(_SC_PAGESIZE)))
        if pages.count > 1 {
            reading.virtualBytes = pages[0] * pageSize
            reading.residentBytes = pages[1] * pageSize
        }
        reading.startTime = startTime()
        var limit = rlimit()
        getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        reading.maxDescriptors = UInt64(limit.rlim_cur)
        if let directory = opendir("/proc/self/fd") {
            while readdir(directory) != nil { reading.openDescriptors += 1 }
            closedir(directory)
            // ".", ".." and the directory itself.
            reading.openDescriptors -= 3
        }
        return reading
    }

    /// MemAvailable of /proc/meminfo, bytes; nil when the kernel does not say.
    static func availableMemory() -> Int? {
        ProcFile.read("/proc/meminfo").split(separator: "\n")
            .first { $0.hasPrefix("MemAvailable:") }
            .flatMap { Int($0.split(separator: " ")[1]) }
            .map { $0 << 10 }
    }

    /// Field 22 of /proc/self/stat, in clock ticks since boot; /proc/stat has the time of boot.
    private static func startTime() -> Double {
        let stat = ProcFile.read("/proc/self/stat")
        guard let end = stat.lastIndex(of: ")") else { return 0 }
        let fields = stat[end...].split(separator: " ")
        let boot = ProcFile.read("/proc/stat").split(separator: "\n")
            .first { $0.hasPrefix("btime ") }.flatMap { Double($0.dropFirst(6)) }
        guard fields.count > 20, let ticks = Double(fields[20]), let boot else { return 0 }
        return boot + ticks / Double(sysconf(Int32(_SC_CLK_TCK)))
    }
}

/// The version of this build.
public enum SluiceVersion {
    public static let text = "0.1.0"

    /// The compiler's language version.
    public static let swift: String = {
        #if swift(>=6.4)
            "6.4"
        #elseif swift(>=6.3)
            "6.3"
        #else
            "6.2"
        #endif
    }()
}
