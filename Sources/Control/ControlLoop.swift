import CSluice
import Dataplane
import Logging
import PacketIO

/// The control thread between start and stop: signals, drain, the TCP health port, samples.
struct ControlLoop: ~Copyable {
    private let gauges: Gauges
    private var limits: DrainLimits
    private let signals: SignalReader
    private var healthTCP: HealthTCPPort?
    private var addresses: AddressFollower?
    /// Whoever asks who holds the instance lock connects to this.
    private let lock: Int32
    private let policy: PolicyControl?
    private let control: ControlSocket?
    private var manager: ServiceManager
    private var log: Logger
    private var drain: Drain?
    private var lastHealth = Health.starting
    private var sampler: BusySampler

    private static let tickMilliseconds: Int32 = 100
    /// Workers look for a new snapshot every burst and are woken for it: milliseconds.
    private static let adoptionPatience = 5000

    init(
        gauges: Gauges, drain: DrainLimits, signals: consuming SignalReader,
        healthTCP: consuming HealthTCPPort?, addresses: consuming AddressFollower?, lock: Int32,
        policy: PolicyControl?, control: ControlSocket?, manager: consuming ServiceManager,
        log: Logger
    ) {
        self.gauges = gauges
        limits = drain
        self.signals = signals
        self.healthTCP = healthTCP
        self.addresses = addresses
        self.lock = lock
        self.policy = policy
        self.control = control
        self.manager = manager
        self.log = log
        sampler = BusySampler(now: sluice_monotonic_ns(), busy: ControlLoop.busy(gauges))
    }

    /// Returns when it is time to stop.
    mutating func run() {
        serve()
        manager.noteStopping("stopping")
    }

    private mutating func serve() {
        while true {
            signals.wait(
                milliseconds: ControlLoop.tickMilliseconds, or: control?.descriptor ?? -1)
            while let signal = signals.next() {
                if handle(signal) { return }
            }
            let now = sluice_monotonic_ns()
            noteHealth(gauges.health)
            // Also while draining: packets flow, and a stuck worker holds them up.
            manager.ping(now: now, workersMakeProgress: gauges.progress.isHealthy)
            followAddresses()
            TCPClients.turnAway(lock)
            serveControl()
            if let policy {
                policy.logEvents(log)
                _ = policy.settle(workers: gauges.workers.count)
            }
            if let ratios = sampler.sample(now: now, busy: ControlLoop.busy(gauges)) {
                gauges.setBusy(ratios)
            }
            if drain?.isOver(now: now, packets: gauges.packetsReceived) == true {
                log.info("drained")
                return
            }
        }
    }

    /// True when the signal means: stop now.
    private mutating func handle(_ signal: Int32) -> Bool {
        switch signal {
        case SIGHUP:
            _ = reload()
            return false
        case SIGTERM where drain == nil:
            let now = sluice_monotonic_ns()
            drain = Drain(limits: limits, now: now, packets: gauges.packetsReceived)
            gauges.isDraining.store(true, ordering: .relaxed)
            log.info(
                "draining: health says no, packets flow; SIGTERM or SIGINT again stops at once")
            return false
        default:
            log.info("stopping at once")
            return true
        }
    }

    /// What cannot be followed is served as before.
    private mutating func followAddresses() {
        do throws(IOFailure) {
            try addresses?.follow()
        } catch {
            log.warning("cannot follow the host's addresses: \(error)")
        }
    }

    private mutating func serveControl() {
        guard let control else { return }
        control.serve { command in
            switch command {
            case "reload": reload()
            default: ControlReply(errors: ["unknown command '\(command)': expected reload"])
            }
        }
    }

    /// Takes the configuration over that the file holds now, or says why not and changes nothing.
    private mutating func reload() -> ControlReply {
        guard let policy else {
            log.info("no config file is in use: nothing to reload")
            return ControlReply(errors: ["no config file is in use"])
        }
        manager.noteReloading(now: sluice_monotonic_ns())
        defer { manager.noteReloaded(status(gauges.health)) }
        do throws(ConfigErrors) {
            let configuration = try policy.reload(workers: gauges.workers)
            limits = configuration.run.drain
            log = configuration.makeLogger()
        } catch {
            for line in error.lines { log.error("not reloaded: \(line)") }
            return ControlReply(errors: error.lines)
        }
        let generation = policy.reloads.generation
        guard isAdopted(policy) else {
            let text = "generation \(generation) waits for a worker that makes no progress"
            log.warning("\(text)")
            return ControlReply(errors: [text])
        }
        log.info("reloaded: generation \(generation), \(policy.ruleHits.count) rules")
        return ControlReply(generation: generation)
    }

    /// Waits until every worker reads the newest snapshot.
    private func isAdopted(_ policy: PolicyControl) -> Bool {
        for _ in 0..<ControlLoop.adoptionPatience {
            if policy.settle(workers: gauges.workers.count) { return true }
            usleep(1000)
        }
        return false
    }

    private mutating func noteHealth(_ health: Health) {
        healthTCP?.update(isHealthy: health.isHealthy)
        guard health != lastHealth else { return }
        if health.isHealthy {
            log.info(lastHealth == .starting ? "ready" : "healthy again")
        } else {
            log.warning("not healthy: \(health.reason)")
        }
        manager.note(health, status(health))
        lastHealth = health
    }

    /// One line for `systemctl status`.
    private func status(_ health: Health) -> String {
        "\(gauges.backend.rawValue), \(gauges.workers.count) workers: \(health.reason)"
    }

    private static func busy(_ gauges: Gauges) -> [UInt64] {
        gauges.workers.map { $0.counters.read(.busy) }
    }
}

/// Turns busy nanoseconds into shares of the time that passed, about once a second.
struct BusySampler {
    private var last: UInt64
    private var lastBusy: [UInt64]

    init(now: UInt64, busy: [UInt64]) {
        last = now
        lastBusy = busy
    }

    /// Nil until a second has passed since the last sample.
    mutating func sample(now: UInt64, busy: [UInt64]) -> [Double]? {
        let elapsed = now - last
        guard elapsed >= 1_000_000_000 else { return nil }
        let ratios = zip(busy, lastBusy).map { min(1, Double($0 &- $1) / Double(elapsed)) }
        last = now
        lastBusy = busy
        return ratios
    }
}

/// SIGTERM, SIGINT and SIGHUP as something to poll. Made before any thread starts, so that all
/// threads inherit the mask and none is interrupted.
struct SignalReader: ~Copyable {
    private let descriptor: Int32

    init() throws(Failure) {
        let numbers = [SIGTERM, SIGINT, SIGHUP]
        descriptor = sluice_signal_descriptor(numbers, Int32(numbers.count))
        guard descriptor >= 0 else { throw Failure(.system, "cannot read signals") }
    }

    deinit { close(descriptor) }

    /// Until a signal comes, or something on `other`; a negative descriptor is none.
    func wait(milliseconds: Int32, or other: Int32) {
        var entries = [descriptor, other].map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
        _ = poll(&entries, 2, milliseconds)
    }

    func next() -> Int32? {
        let number = sluice_next_signal(descriptor)
        return number == 0 ? nil : number
    }
}
