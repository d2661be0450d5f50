import CSluice
import Configuration
import Dataplane
import Logging
import PacketIO
import Support

/// The control thread between start and stop: signals, drain, the TCP health port, samples.
struct ControlLoop: ~Copyable {
    private let gauges: Gauges
    private var limits: DrainLimits
    private let signals: SignalReader
    private var healthTCP: HealthTCPPort?
    private var host: HostFollower
    /// Whoever asks who holds the instance lock connects to this.
    private let lock: Int32
    private let configuration: ConfigurationControl
    private var control: ControlServer?
    private var reload: ReloadTask?
    /// Asked for a reload that has not begun: by a signal, or by these clients.
    private var wantsReload = false
    private var waiting: [UInt64] = []
    private var manager: ServiceManager
    private var log: Logger
    private var drain: Drain?
    private var lastHealth = Health.starting
    private var sampler: BusySampler
    /// Events lost, by part of the processor, as far as the log says.
    private var lost: [UInt64]

    private static let tickMilliseconds: Int32 = 100
    /// While workers adopt a snapshot.
    private static let shortTickMilliseconds: Int32 = 1

    init(
        gauges: Gauges, drain: DrainLimits, signals: consuming SignalReader,
        healthTCP: consuming HealthTCPPort?, host: consuming HostFollower, lock: Int32,
        configuration: ConfigurationControl, control: consuming ControlServer?,
        manager: consuming ServiceManager, log: Logger
    ) {
        self.gauges = gauges
        limits = drain
        self.signals = signals
        self.healthTCP = healthTCP
        gauges.note(host)
        self.host = host
        self.lock = lock
        self.configuration = configuration
        lost = gauges.processor.parts.map { _ in 0 }
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
                milliseconds: reload == nil
                    ? ControlLoop.tickMilliseconds : ControlLoop.shortTickMilliseconds,
                or: (control?.polled ?? []) + host.polled)
            while let signal = signals.next() {
                if handle(signal) { return }
            }
            let now = sluice_monotonic_ns()
            noteHealth(gauges.health)
            // Also while draining: packets flow, and a stuck worker holds them up.
            manager.ping(now: now, workersMakeProgress: gauges.progress.isHealthy)
            followHost()
            TCPClients.turnAway(lock)
            serveControl(now)
            advanceReload(now)
            _ = configuration.settle(workers: gauges.workers, log)
            if let ratios = sampler.sample(now: now, busy: ControlLoop.busy(gauges)) {
                gauges.setBusy(ratios)
                configuration.logLosses(gauges.workers, &lost, log)
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
            wantsReload = true
            return false
        case SIGUSR1:
            logStatus()
            return false
        case SIGUSR2, SIGALRM:
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

    private func logStatus() {
        let readings = gauges.read()
        let counts =
            "generation \(readings.reloads.generation), "
            + "received \(readings.total(.packetsReceived)), "
            + "forwarded \(readings.total(.packetsForwarded)), dropped \(readings.dropped), "
            + "flows \(readings.total(.flowsLive))"
        log.info("status: \(status(gauges.health)); \(counts)")
    }

    /// What cannot be followed is served as before.
    private mutating func followHost() {
        do throws(IOFailure) {
            let hasChanged = try host.update()
            gauges.note(host)
            guard hasChanged else { return }
            log.info("the host's interfaces or addresses have changed: serving \(host.names)")
        } catch {
            log.warning("cannot follow the host's interfaces and addresses: \(error)")
        }
    }

    private mutating func serveControl(_ now: UInt64) {
        for (client, command) in control?.serve(now: now) ?? [] {
            if command == "reload" {
                waiting.append(client)
            } else {
                let text = "unknown command '\(command)': expected reload"
                control?.reply(ControlReply(errors: [text]), to: client, now: now)
            }
        }
    }

    // ---- Reload: one at a time; whoever asks meanwhile waits for the next.

    private mutating func advanceReload(_ now: UInt64) {
        if let reload { advance(reload, now) }
        guard reload == nil, wantsReload || !waiting.isEmpty else { return }
        defer {
            wantsReload = false
            waiting = []
        }
        guard configuration.isReloadable else {
            log.info("no config file is in use: nothing to reload")
            return answer(ControlReply(errors: ["no config file is in use"]), waiting, now)
        }
        manager.noteReloading(now: now)
        reload = ReloadTask(configuration, workers: gauges.workers, clients: waiting)
    }

    /// Takes the configuration over that the file holds now, or says why not and changes nothing.
    private mutating func advance(_ task: ReloadTask, _ now: UInt64) {
        switch task.now {
        case .reading: return
        case .refused(let errors):
            for line in errors.lines { log.error("not reloaded: \(line)") }
            answer(ControlReply(errors: errors.lines), task.clients, now)
        case .adopting(let new, let deadline):
            limits = new.run.drain
            log = new.makeLogger()
            let generation = configuration.reloads.generation
            if configuration.settle(workers: gauges.workers, log) {
                let rules =
                    gauges.processor.hasRules ? ", \(configuration.ruleHits.count) rules" : ""
                log.info("reloaded: generation \(generation)\(rules)")
                answer(ControlReply(generation: generation), task.clients, now)
            } else if now >= deadline {
                let text = "generation \(generation) waits for a worker that makes no progress"
                log.warning("\(text)")
                answer(ControlReply(errors: [text]), task.clients, now)
            } else {
                return
            }
        }
        manager.noteReloaded(status(gauges.health))
        reload = nil
    }

    private mutating func answer(_ reply: ControlReply, _ clients: [UInt64], _ now: UInt64) {
        for client in clients { control?.reply(reply, to: client, now: now) }
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
