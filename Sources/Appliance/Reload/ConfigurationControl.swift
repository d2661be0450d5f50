import CSluice
import Configuration
import Dataplane
import Logging
import PacketIO
import RuleEngine
import Support
import Synchronization
import Wire

/// The configuration in force: loads, publishes, and counts over generations. Used by the control
/// thread; metrics read it from the HTTP thread.
final class ConfigurationControl: Sendable {
    private static let mostRetired = 8
    private let loader: ConfigLoader
    private let processor: ProcessorShape
    /// What every snapshot knows of the host: `HostFollower` writes it.
    let ownAddresses = OwnAddresses(room: LocalAddresses.limit)
    private let state: Mutex<State>

    /// A snapshot, with the policy in it that counts hits.
    private struct Generation {
        var snapshot: Snapshot
        /// Nil without rules of a config file.
        var policy: PolicySnapshot?
        var number: UInt64 { snapshot.generation }
    }

    private struct State {
        var configuration: Configuration
        /// The one in force; nil before the start.
        var current: Generation?
        /// Older ones that a worker may still read.
        var retired: [Generation] = []
        /// Hits of rules that older snapshots counted.
        var earlierHits: [String: UInt64] = [:]
        var reloads = ReloadReading()
        var ruleLog = RuleLog()
    }

    init(loader: ConfigLoader, processor: ProcessorShape, _ configuration: Configuration) {
        self.loader = loader
        self.processor = processor
        state = Mutex(State(configuration: configuration))
    }

    /// With a config file: it can be read again.
    var isReloadable: Bool { loader.path != nil }

    // ---- Start.

    /// Files that a reload will read and may not. To be asked when privileges are gone.
    var unreadableFiles: [String] {
        let configuration = state.withLock { $0.configuration }
        return ([loader.path].compactMap { $0 } + configuration.sets).filter { path in
            // Sound: the path is a C string for the call.
            unsafe access(path, R_OK) != 0
        }
    }

    /// Builds the first snapshot. - Parameter settings: with the MTU that fits the interfaces.
    func start(workers: Int, settings: PathSettings) throws(Failure) {
        let configuration = state.withLock { $0.configuration }
        do {
            let first = try make(
                configuration, settings: settings, generation: 1, workers: workers)
            state.withLock {
                $0.current = first
                $0.reloads.note(configuration, first.policy)
            }
        } catch let error as IOFailure {
            throw Failure(error)
        } catch {
            throw Failure(.config, "\(loader.path ?? "policy"): \(error)")
        }
    }

    /// The one in force. To be let go soon: it stays in memory as long as somebody holds it.
    /// - Precondition: started.
    var snapshot: Snapshot { state.withLock { $0.current!.snapshot } }

    private func make(
        _ configuration: Configuration, settings: PathSettings, generation: UInt64, workers: Int,
        after earlier: PolicySnapshot? = nil
    ) throws -> Generation {
        let policy =
            processor.hasRules
            ? try PolicySnapshot(
                configuration.policy, generation: generation, workers: workers, after: earlier)
            : nil
        var settings = settings
        settings.ownAddresses = ownAddresses
        let read = try configuration.processor.read(policy: policy, processor.read)
        return Generation(
            snapshot: processor.makeSnapshot(read, settings, generation), policy: policy)
    }

    /// Bytes of the tables of the policy in force; nil without one.
    var tableBytes: Int? { state.withLock { $0.current?.policy?.byteCount } }

    // ---- Reload.

    /// Reads the file anew and publishes what it says; a mistake changes nothing.
    ///
    /// - Returns: the new configuration.
    /// - Throws: `ConfigErrors` with every mistake.
    func reload(workers: [WorkerThread]) throws(ConfigErrors) -> Configuration {
        let start = sluice_monotonic_ns()
        defer {
            let duration = Double(sluice_monotonic_ns() - start) / 1e9
            state.withLock { $0.reloads.lastDuration = duration }
        }
        do {
            let configuration = try loader.load()
            try publish(configuration, workers)
            return configuration
        } catch {
            let errors: ConfigErrors =
                switch error {
                case let errors as ConfigErrors: errors
                case let excess as PolicyExcess:
                    ConfigErrors(["\(loader.path ?? "policy"): \(excess)"])
                default: ConfigErrors(["\(error)"])
                }
            state.withLock { $0.reloads.note(errors) }
            throw errors
        }
    }

    private func publish(_ new: Configuration, _ workers: [WorkerThread]) throws {
        let old = state.withLock { $0.configuration }
        let changed = LiveChange.refused(from: old, to: new)
        guard changed.isEmpty else {
            throw ConfigErrors(
                changed.map { "\(loader.path ?? "flags"): \($0) cannot change live: restart" })
        }
        // A worker that hangs keeps every snapshot since: they must not pile up.
        guard state.withLock({ $0.retired.count }) < ConfigurationControl.mostRetired else {
            throw ConfigErrors([
                "\(ConfigurationControl.mostRetired) generations wait for a worker that makes no progress"
            ])
        }
        let settings = try fitted(new.run)
        // Outside the lock: a million prefixes take a moment, and metrics must not wait for it.
        let generation = reloads.generation + 1
        let earlier = state.withLock { $0.current?.policy }
        let next = try make(
            new, settings: settings, generation: generation, workers: workers.count,
            after: earlier)
        try requireMemory(next.policy)
        state.withLock { state in
            for worker in workers { worker.link.publish(next.snapshot) }
            if let old = state.current { state.retired.append(old) }
            state.current = next
            state.configuration = new
            state.reloads.generation = generation
            state.reloads.succeeded += 1
            state.reloads.note(new, next.policy)
        }
        for worker in workers { worker.waker.wake() }
        let logged = loggedHits
        state.withLock { $0.ruleLog.follow(logged) }
    }

    /// As at the start: a policy that takes most of what the host has left is let go again, before
    /// the out-of-memory killer ends the process.
    private func requireMemory(_ policy: PolicySnapshot?) throws(ConfigErrors) {
        guard let policy, let available = ProcessReading.availableMemory(),
            policy.byteCount > (available + policy.byteCount) / 10 * 8
        else { return }
        throw ConfigErrors([
            "\(loader.path ?? "policy"): the policy needs \(policy.byteCount >> 20) MiB, but the host "
                + "has \((available + policy.byteCount) >> 20) MiB free: shorten it, or give the "
                + "host more"
        ])
    }

    /// The settings with the MTU lowered to what the interfaces carry, unless it was asked for.
    private func fitted(_ options: RunOptions) throws(Failure) -> PathSettings {
        // One that is away for now keeps no new policy out: health tells of it.
        let interfaces = Interfaces.present(named: options.interfaces, address: options.address)
        var warnings: [String] = []
        let mtu = try Interfaces.fit(
            mtu: options.settings.mtu, isSet: options.mtuIsSet, interfaces: interfaces,
            warnings: &warnings)
        // Last, since the set of sources is memory that a snapshot must own.
        var settings = options.pathSettings
        settings.mtu =
            interfaces.isEmpty && !options.mtuIsSet ? min(mtu, snapshot.settings.mtu) : mtu
        return settings
    }

    /// True when every worker has adopted the newest snapshot; older ones are freed then.
    func settle(workers: [WorkerThread], _ log: Logger) -> Bool {
        let oldest = workers.map { $0.link.generation }.min() ?? 0
        // Who has moved on emits no more by older rules, whose names are known until here.
        handleEvents(workers, log)
        return state.withLock { state in
            for policy in state.retired.filter({ $0.number < oldest }).compactMap(\.policy) {
                for (rule, name) in policy.ruleNames.enumerated() {
                    state.earlierHits[name, default: 0] += policy.hits(rule: rule)
                }
            }
            state.retired.removeAll { $0.number < oldest }
            return oldest == state.reloads.generation
        }
    }

    // ---- Readings.

    /// Hits of the policy's rules in force by name, over all generations.
    var ruleHits: [(name: String, hits: UInt64)] {
        state.withLock { state in
            guard let snapshot = state.current?.policy else { return [] }
            var hits = state.earlierHits
            for old in state.retired.compactMap(\.policy) {
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

    /// Lets the processor handle what workers have emitted.
    func handleEvents(_ workers: [WorkerThread], _ log: Logger) {
        let eventLog = EventLog(
            event: { [self] event in
                guard let event = event as? RuleEvent else { return }
                state.withLock { state in
                    let names = (state.retired + [state.current].compactMap { $0 })
                        .compactMap(\.policy).first { $0.generation == event.generation }?.ruleNames
                    state.ruleLog.write(
                        event, names?[event.rule], second: sluice_monotonic_ns() / 1_000_000_000,
                        most: state.configuration.policy.logLines, log)
                }
            },
            write: { line, isWarning in log.log(level: isWarning ? .warning : .info, "\(line)") })
        for worker in workers { worker.link.takeEvents(processor.parts, log: eventLog) }
    }

    /// Says how many events were lost since the last time.
    func logLosses(_ workers: [WorkerThread], _ seen: inout [UInt64], _ log: Logger) {
        for (part, description) in processor.parts.enumerated() {
            let lost = workers.reduce(0) { $0 + $1.counters.readEvents(part: part).lost }
            let new = lost - seen[part]
            seen[part] = lost
            if description.decidesByPolicy {
                tellSuppressed(workers, log)
            } else if new > 0 {
                log.info("\(new) events of the processor were lost: more than can be handled")
            }
        }
    }

    /// Hits of the rules that log.
    private var loggedHits: [(name: String, hits: UInt64)] {
        let logged = state.withLock { state in
            Set(state.configuration.policy.rules.filter(\.isLogged).map(\.name))
        }
        return logged.isEmpty ? [] : ruleHits.filter { logged.contains($0.name) }
    }

    /// Says of each rule how many lines were left out.
    private func tellSuppressed(_ workers: [WorkerThread], _ log: Logger) {
        // Before the events: what was hit by then has its event in a ring.
        let hits = loggedHits
        guard !hits.isEmpty else { return }
        handleEvents(workers, log)
        state.withLock { $0.ruleLog.tellSuppressed(hits, log) }
    }
}
