import Configuration
import Dataplane
import PacketIO
import RuleEngine

/// The memory that an appliance with this configuration takes at its start, for `sluice check`.
enum MemoryWords {
    /// - Throws: what cannot be compiled.
    static func describe(
        _ configuration: Configuration, _ path: String
    ) throws(ConfigErrors) -> String {
        let run = configuration.run
        let allowed = CPUList.allowed()
        // CPUs that this host lacks may be there on the appliance's.
        let placement = try? Placement(
            workers: run.workers, cpus: run.cpus.filter(allowed.contains), allowed: allowed)
        let workers =
            run.workers ?? max(1, run.cpus.isEmpty ? placement?.cpus.count ?? 1 : run.cpus.count)
        let flows = FlowTable<RuleFlow>.byteCount(capacity: run.flowsPerWorker)
        let frames = memory(run)
        let tables: Int
        do {
            tables = try PolicySnapshot(
                configuration.policy, generation: 1, workers: workers
            ).byteCount
        } catch {
            throw ConfigErrors(["\(path): \(error)"])
        }
        let limits = configuration.policy.rateBytesPerWorker * workers
        let each = flows + Rules.byteCount + frames.total
        let why =
            run.workers != nil || !run.cpus.isEmpty ? "" : ", as many as this host would have"
        return "memory: \(workers) \(workers == 1 ? "worker" : "workers")\(why), each "
            + "\(size(flows)) for \(run.flowsPerWorker) flows, \(size(Rules.byteCount)) for "
            + "fragments and \(size(frames.total)) \(frames.socketBuffer == 0 ? "ring" : "of slots and socket buffer"); "
            + "policy tables \(size(tables - limits))\(limits > 0 ? ", limits \(size(limits))" : ""); \(size(workers * each + tables)) in all"
    }

    /// As the appliance opens it, but for interfaces with an MTU above a slot's size. Without `io`:
    /// that of the backend that is tried first.
    private static func memory(_ run: RunOptions) -> BackendMemory {
        (run.backend ?? .fastest).traits.memory(
            run.ringFrames, run.frameSize, SocketOptions.defaultBurst)
    }

    static func size(_ bytes: Int) -> String {
        bytes < 10 << 20 ? "\((bytes + 1023) >> 10) KiB" : "\((bytes + (1 << 20) - 1) >> 20) MiB"
    }
}
