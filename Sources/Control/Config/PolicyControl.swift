import CSluice
import Dataplane
import Logging
import PacketIO
import Synchronization
import Wire

/// The policy in force: loads, publishes, and counts over generations. Used by the control
/// thread; metrics read it from the HTTP thread.
final class PolicyControl: Sendable {
    private static let mostRetired = 8
    private let loader: ConfigLoader
    private let state: Mutex<State>

    private struct State {
        var configuration: Configuration
        var source: PolicySource?
        /// The one in force.
        var snapshot: PolicySnapshot?
        /// Older ones that a worker may still read.
        var retired: [PolicySnapshot] = []
        /// Hits of rules that older snapshots counted.
        var earlierHits: [String: UInt64] = [:]
        var reloads = ReloadReading()
    }

    init(loader: ConfigLoader, _ configuration: Configuration) {
        self.loader = loader
        state = Mutex(State(configuration: configuration))
    }

    // ---- Start.

    /// Builds the first snapshot. - Parameter settings: with the MTU that fits the interfaces.
    func start(workers: Int, settings: PathSettings) throws(Failure) {
        let result = state.withLock { state -> Result<Void, Failure> in
            do throws(IOFailure) {
                let snapshot = try PolicySnapshot(
                    state.configuration.policy, settings: settings, generation: 1,
                    workers: workers)
                state.source = try PolicySource(workers: workers, snapshot)
                state.snapshot = snapshot
                state.reloads = ReloadReading()
                return .success(())
            } catch {
                return .failure(Failure(error))
            }
        }
        try result.get()
    }

    func makeProcessor(worker: Int) throws -> Rules {
        // start() came before the workers.
        try Rules(state.withLock { $0.source! }, worker: worker)
    }

    /// The generation that each worker has adopted.
    func generations(workers: Int) -> [UInt64] {
        state.withLock { state in
            (0..<workers).map { state.source?.generation(of: $0) ?? 0 }
        }
    }

    /// Bytes of the tables of the snapshot in force.
    var tableBytes: Int { state.withLock { $0.snapshot?.byteCount ?? 0 } }

    // ---- Reload.

    /// Reads the file anew and publishes what it says; a mistake changes nothing.
    ///
    /// - Returns: the new configuration.
    /// - Throws: `ConfigErrors` with every mistake.
    func reload(workers: [WorkerThread]) throws(ConfigErrors) -> Configuration {
        do {
            let configuration = try loader.load()
            try publish(configuration, workers)
            return configuration
        } catch {
            state.withLock {
                $0.reloads.failed += 1
                $0.reloads.lastSucceeded = false
            }
            switch error {
            case let errors as ConfigErrors: throw errors
            default: throw ConfigErrors(["\(error)"])
            }
        }
    }

    private func publish(_ new: Configuration, _ workers: [WorkerThread]) throws {
        // Most likely a file that somebody is writing: it would silently forward everything.
        guard !new.isEmpty || loader.path == nil else {
            throw ConfigErrors([
                "\(loader.path ?? ""): empty: to take over the defaults, say so (policy: {})"
            ])
        }
        let old = state.withLock { $0.configuration }
        let changed = LiveChange.refused(from: old.run, to: new.run)
        guard changed.isEmpty else {
            throw ConfigErrors(
                changed.map { "\(loader.path ?? "flags"): \($0) cannot change live: restart" })
        }
        // A worker that hangs keeps every snapshot since: they must not pile up.
        guard state.withLock({ $0.retired.count }) < PolicyControl.mostRetired else {
            throw ConfigErrors([
                "\(PolicyControl.mostRetired) generations wait for a worker that makes no progress"
            ])
        }
        let settings = try fitted(new.run)
        // Outside the lock: a million prefixes take a moment, and metrics must not wait for it.
        let generation = reloads.generation + 1
        let snapshot = try PolicySnapshot(
            new.policy, settings: settings, generation: generation, workers: workers.count)
        state.withLock { state in
            state.source?.publish(snapshot)
            if let old = state.snapshot { state.retired.append(old) }
            state.snapshot = snapshot
            state.configuration = new
            state.reloads.generation = generation
            state.reloads.succeeded += 1
            state.reloads.lastSucceeded = true
        }
        for worker in workers { worker.waker.wake() }
    }

    /// The settings with the MTU lowered to what the interfaces carry, unless it was asked for.
    private func fitted(_ options: RunOptions) throws(Failure) -> PathSettings {
        let interfaces = try Interfaces.resolve(
            named: options.interfaces, address: options.address)
        var warnings: [String] = []
        let mtu = try Interfaces.fit(
            mtu: options.settings.mtu, isSet: options.mtuIsSet, interfaces: interfaces,
            warnings: &warnings)
        // Last, since the set of sources is memory that a snapshot must own.
        var settings = options.pathSettings
        settings.mtu = mtu
        return settings
    }

    /// True when every worker has adopted the newest snapshot; older ones are freed then.
    func settle(workers: Int) -> Bool {
        state.withLock { state in
            guard let source = state.source else { return true }
            let oldest = (0..<workers).map { source.generation(of: $0) }.min() ?? 0
            let freed = state.retired.filter { $0.generation < oldest }
            for snapshot in freed {
                for (rule, name) in snapshot.ruleNames.enumerated() {
                    state.earlierHits[name, default: 0] += snapshot.hits(rule: rule)
                }
            }
            state.retired.removeAll { $0.generation < oldest }
            return oldest == state.reloads.generation
        }
    }

    // ---- Readings.

    /// Hits of the rules in force by name, over all generations.
    var ruleHits: [(name: String, hits: UInt64)] {
        state.withLock { state in
            guard let snapshot = state.snapshot else { return [] }
            var hits = state.earlierHits
            for old in state.retired {
                for (rule, name) in old.ruleNames.enumerated() {
                    hits[name, default: 0] += old.hits(rule: rule)
                }
            }
            return snapshot.ruleNames.enumerated().map { rule, name in
                (name, hits[name, default: 0] + snapshot.hits(rule: rule))
            }
        }
    }

    var reloads: ReloadReading { state.withLock { $0.reloads } }

    /// Writes what rules with the action `log` matched.
    func logEvents(_ log: Logger) {
        var lines: [String] = []
        let lost = state.withLock { state -> UInt64 in
            let snapshots = state.retired + [state.snapshot].compactMap { $0 }
            return state.source?.takeEvents { event in
                let names = snapshots.first { $0.generation == event.generation }?.ruleNames
                lines.append(PolicyControl.describe(event, names?[event.rule] ?? "?"))
            } ?? 0
        }
        for line in lines { log.info("\(line)") }
        if lost > 0 { log.info("\(lost) more packets matched rules with the action log") }
    }

    private static func describe(_ event: RuleEvent, _ rule: String) -> String {
        let isIPv6 = event.version == 6
        func end(_ address: IPv6Address, _ port: UInt16) -> String {
            let text = AddressText.format(
                UInt128(address.high) << 64 | UInt128(address.low), isIPv6: isIPv6)
            return port == 0 ? text : isIPv6 ? "[\(text)]:\(port)" : "\(text):\(port)"
        }
        return "rule \(rule)\(event.isDryRun ? " (dry run)" : ""): "
            + "\(end(event.source, event.sourcePort)) -> "
            + "\(end(event.destination, event.destinationPort)), protocol \(event.protocolNumber), "
            + "\(event.length) bytes, \(EndpointID.format(event.endpoint))"
    }
}

/// How reloads went.
public struct ReloadReading: Sendable, Equatable {
    public var generation: UInt64 = 1
    public var succeeded: UInt64 = 0
    public var failed: UInt64 = 0
    public var lastSucceeded = true

    public init() {}
}

/// What a running appliance cannot take over.
enum LiveChange {
    /// The keys that differ.
    static func refused(from old: RunOptions, to new: RunOptions) -> [String] {
        let fields: [(String, Bool)] = [
            ("listen.interface", old.interfaces == new.interfaces),
            ("listen.address", old.address == new.address),
            ("listen.io", old.backend == new.backend),
            ("listen.workers", old.workers == new.workers),
            ("listen.cpus", old.cpus == new.cpus),
            ("listen.steer", old.steersByCPU == new.steersByCPU),
            ("listen.qdisc-bypass", old.bypassesQdisc == new.bypassesQdisc),
            ("listen.busy-poll", old.busyPoll == new.busyPoll),
            ("listen.ring", old.ringFrames == new.ringFrames && old.frameSize == new.frameSize),
            ("health", old.health == new.health && old.healthTCP == new.healthTCP),
            ("flows.per-worker", old.flowsPerWorker == new.flowsPerWorker),
        ]
        return fields.filter { !$0.1 }.map(\.0)
    }
}
