import CSluice
import Dataplane
import Glibc
import Logging
import PacketIO
import Support
import Wire

/// The whole appliance around one processor: workers, health port, signals, drain.
///
/// Start order, since capabilities are per thread: instance lock, port sink and drop hook, then
/// sockets and rings of every worker, then privileges dropped in every thread, then the HTTP thread, then
/// packets; ready when every worker has beaten. Whatever fails before that ends the start with
/// one line and nothing left behind.
public struct Appliance {
    private let options: RunOptions
    private let log: Logger
    private let body: WorkerBody
    private let configuration: ConfigurationControl
    /// Nil = the default path, and only with a config file.
    private let controlPath: String?

    @inlinable
    public init<Processor: PacketProcessor & ~Copyable>(
        _ options: RunOptions, processor: Processor.Type, log: Logger
    ) {
        self.init(options, WorkerBody(processor), log)
    }

    @usableFromInline
    init(_ options: RunOptions, _ body: WorkerBody, _ log: Logger) {
        var configuration = Configuration()
        configuration.run = options
        let loader = ConfigLoader(path: nil, flags: [:], environment: [:], processor: body.shape)
        self.init(configuration, loader: loader, body: body, control: nil, log: log)
    }

    /// An appliance with a config file, if `loader` has one: it reads it again at every reload.
    ///
    /// - Parameter control: path of the control socket; nil = the default one.
    public init(
        _ configuration: Configuration, loader: ConfigLoader, body: WorkerBody, control: String?,
        log: Logger
    ) {
        options = configuration.run
        self.body = body
        self.log = log
        self.configuration = ConfigurationControl(
            loader: loader, processor: body.shape, configuration)
        controlPath = control
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
        let interfaces = try Interfaces.resolve(
            named: options.interfaces, address: options.address)
        let placement = try place(interfaces)
        let health = try ListenSocket(options.health, flag: "--health")
        let healthTCP = try openHealthTCP()
        var warnings: [String] = []
        let probe = try takePort()
        let choice = try BackendChoice(
            options.backend, interfaces: interfaces, address: options.address)
        let backend = choice.backend
        let plan = try makePlan(backend, interfaces, placement, &warnings)
        try configuration.start(workers: plan.sockets.workers, settings: plan.settings)
        try checkMemory(backend, plan)
        let control = try openControl(&warnings)
        defer { control?.remove() }
        let sink = try keepPort(probe, backend)

        let workers = try startWorkers(backend, placement, plan)
        let follower =
            backend == .packet
            ? try AddressFollower(
                sockets: workers.map { $0.facts.withLock { $0.socket } }, options: plan.sockets)
            : nil
        let gauges = Gauges(
            backend: backend, workers: workers, processor: body.shape,
            configuration: configuration, interfaces: interfaces)
        for worker in workers { try worker.dropPrivileges() }
        guard sluice_drop_capabilities() == 0 else {
            throw Failure(IOFailure("drop capabilities"))
        }
        let server = try HealthServer(health, gauges: gauges)
        // As long as the process lives, 6081 has a taker and no second appliance may start.
        sink?.keepUntilExit()
        let reason = choice.reason
        choice.keepUntilExit()
        let lockDescriptor = lock.keepUntilExit()
        for worker in workers { try worker.release() }
        logStart(gauges, plan, reason, warnings)

        var loop = ControlLoop(
            gauges: gauges, drain: options.drain, signals: signals, healthTCP: healthTCP,
            addresses: follower, lock: lockDescriptor, configuration: configuration,
            control: control.map { ControlServer($0) },
            manager: ServiceManager(), log: log)
        loop.run()
        stop(workers)
        server.stop()
        log.info("stopped")
    }

    private func openHealthTCP() throws(Failure) -> HealthTCPPort? {
        guard let name = options.healthTCP else { return nil }
        return HealthTCPPort(try ListenSocket(name, flag: "--health-tcp"))
    }

    private func place(_ interfaces: [String]) throws(Failure) -> Placement {
        let card = CardPlace(interfaces: interfaces)
        return try Placement(
            workers: options.workers, cpus: options.cpus, allowed: CPUList.allowed(),
            rank: {
                card.rank(
                    cpu: $0, node: Int(sluice_node_of_cpu(Int32($0))),
                    steersByCPU: options.steersByCPU)
            })
    }

    /// Only with a config file there is something to control. A default socket that cannot be had
    /// is no reason not to serve.
    private func openControl(_ warnings: inout [String]) throws(Failure) -> ControlSocket? {
        guard configuration.isReloadable else { return nil }
        do throws(Failure) {
            return try ControlSocket(path: controlPath ?? ControlSocket.defaultPath)
        } catch {
            if controlPath != nil { throw error }
            warnings.append("\(error): sluice reload will not work, SIGHUP does")
            return nil
        }
    }

    /// Warnings are for later: a start that fails says one thing.
    private func makePlan(
        _ backend: IOBackend, _ interfaces: [String], _ placement: Placement,
        _ warnings: inout [String]
    ) throws(Failure) -> WorkerPlan {
        var settings = options.pathSettings
        settings.mtu = try Interfaces.fit(
            mtu: settings.mtu, isSet: options.mtuIsSet, interfaces: interfaces,
            warnings: &warnings)
        do throws(IOFailure) {
            var sockets = SocketOptions(waker: try Waker())
            sockets.workers = placement.cpus.count
            sockets.address = options.address
            sockets.interfaces = options.interfaces
            sockets.slotSize = options.frameSize
            sockets.steering = options.steersByCPU ? .cpu(placement.cpus) : .flow
            if backend == .packet {
                sockets.interfaces = interfaces
                // Whatever an interface can bring, and send again.
                sockets.slotSize = max(
                    options.frameSize,
                    Interfaces.largestMTU(interfaces) + PacketReceiveRing.networkOffset)
                sockets.bypassesQdisc = options.bypassesQdisc
            }
            // A ring of larger slots has fewer of them.
            sockets.receiveBuffer = options.ringFrames * options.frameSize
            sockets.zeroOuterChecksum = options.zeroOuterChecksum
            return WorkerPlan(
                sockets: sockets, settings: settings, flowsPerWorker: options.flowsPerWorker,
                seed: UInt64.random(in: .min ... .max), spins: options.busyPoll,
                // A worker that shares its CPU leaves it to the others.
                patience: Set(placement.cpus).count == placement.cpus.count
                    ? IdleSpin.worthwhile : 0)
        } catch {
            throw Failure(error)
        }
    }

    /// Rings and tables are taken whole at start: more than the host has free would end in the
    /// out-of-memory killer, not in an error.
    private func checkMemory(_ backend: IOBackend, _ plan: WorkerPlan) throws(Failure) {
        let tables = body.tableBytes(plan.flowsPerWorker)
        let workers = plan.sockets.workers
        let ring =
            backend == .packet
            ? PacketReceiveRing.Shape(
                frames: max(1, plan.sockets.receiveBuffer / plan.sockets.slotSize),
                frameSize: plan.sockets.slotSize
            ).byteCount
            : plan.sockets.burst * plan.sockets.slotSize
        let total = workers * (ring + tables) + (configuration.tableBytes ?? 0)
        guard let available = ProcessReading.availableMemory(), total > available / 10 * 8 else {
            return
        }
        throw Failure(
            .config,
            "\(workers) workers need \(total >> 20) MiB for rings, tables and policy, but the host has "
                + "\(available >> 20) MiB free: lower SLUICE_FLOWS_PER_WORKER or --workers")
    }

    /// Takes port 6081 with a plain bind: nobody else may have it.
    private func takePort() throws(Failure) -> PortSink {
        do throws(IOFailure) {
            return try PortSink(address: 0)
        } catch {
            guard error.errno == EADDRINUSE else { throw Failure(error) }
            throw Failure(
                .system,
                "UDP port 6081 is taken by another program or a kernel geneve device: "
                    + "`ss -lunp 'sport = :6081'` and `ip -d link show type geneve` name it")
        }
    }

    /// Leaves a sink where packets may come that no worker's UDP socket takes: with `packet` and
    /// `raw`, and with `udp` on one address or interface only.
    private func keepPort(
        _ probe: consuming PortSink, _ backend: IOBackend
    ) throws(Failure) -> PortSink? {
        guard backend == .udp else { return probe }
        probe.close()
        guard options.address != 0 || options.interfaces.count == 1 else { return nil }
        do throws(IOFailure) {
            return try PortSink(address: 0, sharing: true)
        } catch {
            throw Failure(error)
        }
    }

    private func startWorkers(
        _ backend: IOBackend, _ placement: Placement, _ plan: WorkerPlan
    ) throws(Failure) -> [WorkerThread] {
        var workers: [WorkerThread] = []
        for (index, cpu) in placement.cpus.enumerated() {
            let worker = try WorkerThread(
                index: index, cpu: cpu, processor: body.shape, first: configuration.snapshot)
            try worker.start { [body, plan] in try body.serve(backend, plan, $0) }
            workers.append(worker)
        }
        return workers
    }

    private func logStart(
        _ gauges: Gauges, _ plan: WorkerPlan, _ reason: String?, _ warnings: [String]
    ) {
        for warning in warnings { log.warning("\(warning)") }
        if let reason { log.info("io auto: \(reason)") }
        var total = 0
        for worker in gauges.workers {
            let facts = worker.facts.withLock { $0 }
            total += facts.ringBytes + facts.tableBytes
            log.info("\(describe(worker, facts, gauges.backend, plan.sockets))")
        }
        if gauges.backend == .raw, gauges.workers.count > 8 {
            log.warning("raw offers every packet to every worker: for so many use --io udp")
        }
        if configuration.isReloadable, let bytes = configuration.tableBytes {
            let rules = configuration.ruleHits.count
            log.info("policy: \(rules) rules, tables \(bytes >> 10) KiB")
        }
        log.info(
            "\(gauges.backend.rawValue): \(gauges.workers.count) workers, \(total >> 20) MiB, health on http://\(options.health)/health"
        )
    }

    private func describe(
        _ worker: WorkerThread, _ facts: WorkerThread.Facts, _ backend: IOBackend,
        _ sockets: SocketOptions
    ) -> String {
        let place =
            sockets.interfaces.isEmpty
            ? "every interface" : sockets.interfaces.joined(separator: ", ")
        let pages = sluice_gets_huge_pages(facts.tableBytes) != 0 ? "huge" : "small"
        return "worker \(worker.index): cpu \(worker.cpu), node \(max(0, worker.node)), "
            + "ring \(facts.ringBytes >> 10) KiB, tables \(facts.tableBytes >> 10) KiB, "
            + "slots of \(sockets.slotSize) bytes, \(pages) pages, "
            + "\(backend.rawValue) on \(place), steered by \(options.steersByCPU ? "cpu" : "flow")"
    }

    /// A worker stops within a burst; one that hangs does not keep the process.
    private func stop(_ workers: [WorkerThread]) {
        for worker in workers { worker.stop() }
        for worker in workers where !worker.join(seconds: 2) {
            log.warning("worker \(worker.index) does not stop; leaving without it")
        }
    }
}
