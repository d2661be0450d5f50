import CSluice
import Dataplane
import Glibc
import Logging
import PacketIO
import Wire

/// The whole appliance around one processor: workers, health port, signals, drain.
///
/// Start order, since capabilities are per thread: instance lock and port sink, then sockets and
/// rings of every worker, then privileges dropped in every thread, then the HTTP thread, then
/// packets; ready when every worker has beaten. Whatever fails before that ends the start with
/// one line and nothing left behind.
public struct Appliance<Processor: PacketProcessor & ~Copyable> {
    private let options: RunOptions
    private let log: Logger

    public init(_ options: RunOptions, processor: Processor.Type, log: Logger) {
        self.options = options
        self.log = log
    }

    /// Runs until a signal ends it, then ends the process. What went wrong is one line on
    /// standard error and an exit code.
    public func runAndExit(program: String) -> Never {
        do {
            try run()
            exit(0)
        } catch let failure as Failure {
            failure.printAndExit(program: program)
        } catch {
            Failure(.system, "\(error)").printAndExit(program: program)
        }
    }

    /// Runs until a signal ends it. - Throws: `Failure` when it cannot start.
    public func run() throws {
        let signals = try SignalReader()
        let lock = try InstanceLock()
        let placement = try Placement(
            workers: options.workers, cpus: options.cpus, allowed: CPUList.allowed())
        let health = try ListenSocket(options.health, flag: "--health")
        let healthTCP = try openHealthTCP()
        let backend = chooseBackend()
        warnOfManyRawWorkers(backend, placement.cpus.count)
        let plan = try makePlan()
        let sink = try openSink(backend)

        let workers = try startWorkers(backend, placement, plan)
        let gauges = Gauges(
            backend: backend, workers: workers, ruleNames: Processor.ruleNames)
        for worker in workers { worker.dropPrivileges() }
        guard sluice_drop_capabilities() == 0 else {
            throw Failure(IOFailure("drop capabilities"))
        }
        let server = try HealthServer(health, gauges: gauges)
        // Nothing can fail from here on. As long as the process lives, 6081 has a taker and no
        // second appliance may start.
        sink?.keepUntilExit()
        lock.keepUntilExit()
        for worker in workers { worker.release() }
        logStart(gauges)

        var loop = ControlLoop(
            gauges: gauges, drain: options.drain, signals: signals, healthTCP: healthTCP,
            log: log)
        loop.run()
        stop(workers)
        server.stop()
        log.info("stopped")
    }

    private func openHealthTCP() throws(Failure) -> HealthTCPPort? {
        guard let name = options.healthTCP else { return nil }
        return HealthTCPPort(try ListenSocket(name, flag: "--health-tcp"))
    }

    /// `udp` shares packets out before they are copied, `raw` offers every packet to every
    /// worker: `raw` keeps more of the outer header and is the faster one for a single worker,
    /// but `udp` serves any number.
    private func chooseBackend() -> IOBackend {
        if let backend = options.backend { return backend }
        log.info("io auto: udp, since its cost does not grow with the number of workers")
        return .udp
    }

    private func warnOfManyRawWorkers(_ backend: IOBackend, _ workers: Int) {
        guard backend == .raw, workers > 8 else { return }
        log.warning(
            "raw offers every packet to every worker: with \(workers) workers use --io udp")
    }

    private func makePlan() throws(Failure) -> WorkerPlan {
        let interfaces = try Interfaces.resolve(
            named: options.interfaces, address: options.address)
        var settings = options.settings
        settings.mtu = try Interfaces.fit(
            mtu: settings.mtu, isSet: options.mtuIsSet, interfaces: interfaces
        ) { log.warning("\($0)") }
        do throws(IOFailure) {
            var sockets = SocketOptions(waker: try Waker())
            sockets.address = options.address
            sockets.interfaces = options.interfaces
            sockets.slotSize = options.frameSize
            sockets.receiveBuffer = options.ringFrames * options.frameSize
            sockets.zeroOuterChecksum = options.zeroOuterChecksum
            return WorkerPlan(
                sockets: sockets, settings: settings, flowsPerWorker: options.flowsPerWorker,
                seed: UInt64.random(in: .min ... .max), spins: options.busyPoll)
        } catch {
            throw Failure(error)
        }
    }

    /// Probes port 6081 with a plain bind. For `raw` the probe stays, as the sink that silences
    /// ICMP; the `udp` sockets are their own sink.
    private func openSink(_ backend: IOBackend) throws(Failure) -> PortSink? {
        do throws(IOFailure) {
            let sink = try PortSink(address: options.address)
            if backend == .raw { return sink }
            return nil
        } catch {
            guard error.errno == EADDRINUSE else { throw Failure(error) }
            throw Failure(
                .system,
                "UDP port 6081 is taken by another program or a kernel geneve device: "
                    + "`ss -lunp 'sport = :6081'` and `ip -d link show type geneve` name it")
        }
    }

    private func startWorkers(
        _ backend: IOBackend, _ placement: Placement, _ plan: WorkerPlan
    ) throws(Failure) -> [WorkerThread] {
        var workers: [WorkerThread] = []
        for (index, cpu) in placement.cpus.enumerated() {
            let worker = try WorkerThread(
                index: index, cpu: cpu, rules: Processor.ruleNames.count)
            var plan = plan
            plan.sockets.workers = placement.cpus.count
            try backend.start(worker, Processor.self, plan)
            workers.append(worker)
        }
        return workers
    }

    private func logStart(_ gauges: Gauges) {
        var total = 0
        for worker in gauges.workers {
            let facts = worker.facts.withLock { $0 }
            total += facts.ringBytes + facts.tableBytes
            log.info(
                "worker \(worker.index): cpu \(worker.cpu), node \(max(0, worker.node)), ring \(facts.ringBytes >> 10) KiB, tables \(facts.tableBytes >> 10) KiB"
            )
        }
        log.info(
            "\(gauges.backend.rawValue): \(gauges.workers.count) workers, \(total >> 20) MiB, health on http://\(options.health)/health"
        )
    }

    /// A worker stops within a burst; one that hangs does not keep the process.
    private func stop(_ workers: [WorkerThread]) {
        for worker in workers { worker.stop() }
        for worker in workers where !worker.join(seconds: 2) {
            log.warning("worker \(worker.index) does not stop; leaving without it")
        }
    }
}
