import Dataplane

/// What the tables of one worker take, for `sluice check`; the start says it with the rings.
enum MemoryWords {
    static func describe(_ configuration: Configuration) -> [String] {
        let flows = configuration.run.flowsPerWorker
        let table = FlowTable<RuleFlow>.byteCount(capacity: flows)
        var lines = ["flow table of each worker: \(flows) flows, \(table >> 10) KiB"]
        let limits = configuration.policy.rateBytesPerWorker
        if limits > 0 { lines.append("limits of each worker: \((limits + 1023) >> 10) KiB") }
        return lines
    }
}
