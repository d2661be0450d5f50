import Dataplane
import PacketIO

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
        let ring = ringBytes(run)
        let tables: Int
        do {
            tables = try PolicySnapshot(
                configuration.policy, generation: 1, workers: workers
            ).byteCount
        } catch {
            throw ConfigErrors(["\(path): \(error)"])
        }
        let limits = configuration.policy.rateBytesPerWorker * workers
        let each = flows + Rules.byteCount + ring
        let why =
            run.workers != nil || !run.cpus.isEmpty ? "" : ", as many as this host would have"
        return "memory: \(workers) \(workers == 1 ? "worker" : "workers")\(why), each "
            + "\(size(flows)) for \(run.flowsPerWorker) flows, \(size(Rules.byteCount)) for "
            + "fragments and \(size(ring)) \(run.backend == nil || run.backend == .packet ? "ring" : "of slots and socket buffer"); "
            + "policy tables \(size(tables - limits))\(limits > 0 ? ", limits \(size(limits))" : ""); \(size(workers * each + tables)) in all"
    }

    /// As the appliance opens it, but for interfaces with an MTU above a slot's size. Without `io`:
    /// that of `packet`, which is tried first.
    private static func ringBytes(_ run: RunOptions) -> Int {
        switch run.backend {
        case nil, .packet:
            return PacketReceiveRing.Shape(frames: run.ringFrames, frameSize: run.frameSize)
                .byteCount
        case .udp, .raw: return (run.ringFrames + 64) * run.frameSize
        }
    }

    static func size(_ bytes: Int) -> String {
        bytes < 10 << 20 ? "\((bytes + 1023) >> 10) KiB" : "\((bytes + (1 << 20) - 1) >> 20) MiB"
    }
}
