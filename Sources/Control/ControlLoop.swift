import CSluice
import Dataplane
import Logging
import PacketIO

/// The control thread between start and stop: signals, drain, the TCP health port, samples.
struct ControlLoop: ~Copyable {
    private let gauges: Gauges
    private let limits: DrainLimits
    private let signals: SignalReader
    private var healthTCP: HealthTCPPort?
    private let addresses: AddressFollower?
    /// Whoever asks who holds the instance lock connects to this.
    private let lock: Int32
    private let log: Logger
    private var drain: Drain?
    private var lastHealth = Health.starting
    private var sampler: BusySampler

    private static let tickMilliseconds: Int32 = 100

    init(
        gauges: Gauges, drain: DrainLimits, signals: consuming SignalReader,
        healthTCP: consuming HealthTCPPort?, addresses: consuming AddressFollower?, lock: Int32,
        log: Logger
    ) {
        self.gauges = gauges
        limits = drain
        self.signals = signals
        self.healthTCP = healthTCP
        self.addresses = addresses
        self.lock = lock
        self.log = log
        sampler = BusySampler(now: sluice_monotonic_ns(), busy: ControlLoop.busy(gauges))
    }

    /// Returns when it is time to stop.
    mutating func run() {
        while true {
            signals.wait(milliseconds: ControlLoop.tickMilliseconds)
            while let signal = signals.next() {
                if handle(signal) { return }
            }
            let now = sluice_monotonic_ns()
            noteHealth(gauges.health)
            followAddresses()
            TCPClients.turnAway(lock)
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
            log.info("no config file is in use: nothing to reload")
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
    private func followAddresses() {
        do throws(IOFailure) {
            try addresses?.follow()
        } catch {
            log.warning("cannot follow the host's addresses: \(error)")
        }
    }

    private mutating func noteHealth(_ health: Health) {
        healthTCP?.update(isHealthy: health.isHealthy)
        guard health != lastHealth else { return }
        if health.isHealthy {
            log.info(lastHealth == .starting ? "ready" : "healthy again")
        } else {
            log.warning("not healthy: \(health.reason)")
        }
        lastHealth = health
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

    func wait(milliseconds: Int32) {
        var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        _ = poll(&entry, 1, milliseconds)
    }

    func next() -> Int32? {
        let number = sluice_next_signal(descriptor)
        return number == 0 ? nil : number
    }
}
