import CSluice
import Configuration
import Logging
import PacketIO

/// What the log says once packets flow: what was chosen, and what each worker got.
struct StartReport {
    let options: RunOptions
    let gauges: Gauges
    let sockets: SocketOptions
    let configuration: ConfigurationControl
    /// Why this backend, when the choice was ours.
    let reason: String?
    let warnings: [String]

    /// With more workers, offering every packet to all of them costs too much.
    private static let manyWorkers = 8

    func write(to log: Logger) {
        for warning in warnings { log.warning("\(warning)") }
        if let reason { log.info("io auto: \(reason)") }
        var total = 0
        for worker in gauges.workers {
            let facts = worker.facts.withLock { $0 }
            total += facts.ringBytes + facts.tableBytes
            log.info("\(describe(worker, facts))")
        }
        let backend = gauges.backend
        if backend.traits.offersAllToEach, gauges.workers.count > StartReport.manyWorkers {
            log.warning(
                "\(backend.rawValue) offers every packet to every worker: for so many use --io udp")
        }
        if configuration.isReloadable, let bytes = configuration.tableBytes {
            let rules = configuration.ruleHits.count
            log.info("policy: \(rules) rules, tables \(bytes >> 10) KiB")
        }
        log.info(
            "\(backend.rawValue): \(gauges.workers.count) workers, \(total >> 20) MiB, health on http://\(options.health)/health"
        )
    }

    private func describe(_ worker: WorkerThread, _ facts: WorkerThread.Facts) -> String {
        let place =
            sockets.interfaces.isEmpty
            ? "no interface yet" : sockets.interfaces.joined(separator: ", ")
        let pages = sluice_gets_huge_pages(facts.tableBytes) != 0 ? "huge" : "small"
        return "worker \(worker.index): cpu \(worker.cpu), node \(max(0, worker.node)), "
            + "ring \(facts.ringBytes >> 10) KiB, tables \(facts.tableBytes >> 10) KiB, "
            + "slots of \(sockets.slotSize) bytes, \(pages) pages, "
            + "\(gauges.backend.rawValue) on \(place), "
            + "steered by \(options.steering)"
    }
}
