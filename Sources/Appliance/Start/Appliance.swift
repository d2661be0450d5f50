import CSluice
import Configuration
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
    /// What it was started with.
    private let asked: Configuration
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
        asked = configuration
        self.body = body
        self.log = log
        self.configuration = ConfigurationControl(
            loader: loader, processor: body.shape, configuration)
        controlPath = control
    }

    private var options: RunOptions { asked.run }

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
        Descriptors.raiseLimit()
        let signals = try SignalReader()
        let lock = try InstanceLock()
        let interfaces = try Interfaces.resolve(
            named: options.interfaces, address: options.address)
        let served = try InterfaceChoice(options)
        let placement = try place(interfaces)
        let health = try ListenSocket(options.health, "health.address", asked)
        let healthTCP = try openHealthTCP()
        let admin = try openAdmin()
        var warnings: [String] = []
        let probe = try GenevePort.take()
        let choice = try BackendChoice(asked, interfaces: served.names)
        let backend = choice.backend
        let plan = try WorkerPlan(
            options, backend: backend, interfaces: interfaces, served: served,
            placement: placement, warnings: &warnings)
        try configuration.start(workers: plan.sockets.workers, settings: plan.settings)
        try plan.requireMemory(
            backend, tables: body.tableBytes(plan.flowsPerWorker),
            policy: configuration.tableBytes ?? 0, asked)
        let control = try openControl(&warnings)
        defer { control?.remove() }
        let port = try GenevePort(sharing: probe, for: backend, address: options.address)

        let workers = try startWorkers(backend, placement, plan)
        let sockets = workers.map { $0.facts.withLock { $0.socket } }
        var follower = try HostFollower(
            served, backend: backend.traits, sockets: sockets, sink: port.unclaimed[0],
            ownAddresses: configuration.ownAddresses, options: plan.sockets)
        let gauges = Gauges(
            backend: backend, workers: workers, processor: body.shape,
            configuration: configuration, interfaces: served.names,
            unclaimed: UnclaimedPackets(port.unclaimed), flowCapacity: plan.flowsPerWorker)
        try dropPrivileges(workers)
        warnings += configuration.unreadableFiles.map(Appliance.reloadWarning)
        let http = try HTTPPorts(health: health, admin: admin, gauges: gauges)
        // As long as the process lives, 6081 has a taker and no second appliance may start.
        port.keepUntilExit(after: sockets)
        let reason = choice.reason
        choice.keepUntilExit(after: sockets)
        let lockDescriptor = lock.keepUntilExit()
        try follow(&follower)
        for worker in workers { try worker.release() }
        StartReport(
            options: options, gauges: gauges, sockets: plan.sockets, configuration: configuration,
            reason: reason, warnings: warnings
        ).write(to: log)

        var loop = ControlLoop(
            gauges: gauges, drain: options.drain, signals: signals, healthTCP: healthTCP,
            host: follower, lock: lockDescriptor, configuration: configuration,
            control: control.map { ControlServer($0) },
            manager: ServiceManager(), log: log)
        loop.run()
        stop(workers)
        http.stop()
        log.info("stopped")
    }

    private static func reloadWarning(_ file: String) -> String {
        "\(file) cannot be read again, since privileges are given up by now: sluice reload and "
            + "SIGHUP will be refused until its owner or mode lets this user read it"
    }

    private func openHealthTCP() throws(Failure) -> HealthTCPPort? {
        guard let name = options.healthTCP else { return nil }
        return HealthTCPPort(try ListenSocket(name, "health.tcp", asked))
    }

    private func openAdmin() throws(Failure) -> ListenSocket? {
        guard let name = options.admin else { return nil }
        return try ListenSocket(name, "health.admin", asked)
    }

    private func place(_ interfaces: [String]) throws(Failure) -> Placement {
        let card = CardPlace(interfaces: interfaces)
        return try Placement(
            workers: options.workers, cpus: options.cpus, allowed: CPUList.allowed(), of: asked,
            rank: {
                card.rank(
                    cpu: $0, node: Int(sluice_node_of_cpu(Int32($0))),
                    steersByCPU: options.steering == .cpu)
            })
    }

    /// Only with a config file there is something to control. A default socket that cannot be had
    /// is no reason not to serve.
    private func openControl(_ warnings: inout [String]) throws(Failure) -> ControlSocket? {
        guard configuration.isReloadable else { return nil }
        do throws(Failure) {
            return try ControlSocket(path: controlPath ?? ControlSocket.defaultPath, asked)
        } catch {
            if controlPath != nil { throw error }
            warnings.append("\(error): sluice reload will not work, SIGHUP does")
            return nil
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

    /// In every thread that there is: those that come later inherit what is left.
    private func dropPrivileges(_ workers: [WorkerThread]) throws(Failure) {
        for worker in workers { try worker.dropPrivileges() }
        guard sluice_drop_capabilities() == 0 else {
            throw Failure(IOFailure("drop capabilities"))
        }
    }

    /// What has changed since the workers opened.
    private func follow(_ host: inout HostFollower) throws(Failure) {
        do throws(IOFailure) {
            _ = try host.update()
        } catch {
            throw Failure(error)
        }
    }

    /// A worker stops within a burst; one that hangs does not keep the process.
    private func stop(_ workers: [WorkerThread]) {
        for worker in workers { worker.stop() }
        for worker in workers where !worker.join(seconds: 2) {
            log.warning("worker \(worker.index) does not stop; leaving without it")
        }
    }
}
