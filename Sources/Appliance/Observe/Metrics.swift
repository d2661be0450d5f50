import Dataplane
import Support

/// All metrics, in the order in which they are shown. A new one is one row here, a new counter of
/// workers one in `CounterID.metric`: `/metrics` and `/status` have it then.
enum Metrics {
    /// - Parameter processorCounters: names of the processor's own counters.
    static func all(processorCounters: [String]) -> [Metric] {
        packets + policy + events + processorCounters.map(processor) + flows + workers
            + configuration + appliance + process
    }

    /// What this appliance has to show.
    static func all(for readings: Readings) -> [Metric] {
        all(processorCounters: readings.processorCounters)
    }

    // ---- Packets. The three stretches of counters together are all of them.

    private static let packets =
        counters(to: .packetsRewritten)
        + [
            .labelled(.counter, "packets_dropped_total", "Packets not sent back, by reason") {
                $0.workers.enumerated().flatMap { index, worker in
                    DropReason.allCases.map { reason in
                        (
                            [("worker", "\(index)"), ("reason", reason.label)],
                            worker.drops[reason] ?? 0
                        )
                    }
                }
            }
        ] + counters(from: .packetsRewritten, to: .flowsLive)

    private static let flows =
        counters(from: .flowsLive) + [
            .perWorker(.gauge, "flows_capacity", "Flows that the table has room for") {
                .count(UInt64($0.flowCapacity))
            }
        ]

    /// The counters of workers from one on, up to another.
    private static func counters(from first: CounterID? = nil, to end: CounterID? = nil) -> [Metric]
    {
        CounterID.allCases
            .filter { $0.rawValue >= first?.rawValue ?? 0 && $0.rawValue < end?.rawValue ?? .max }
            .compactMap { id in
                guard let metric = id.metric else { return nil }
                switch metric.kind {
                case .counter:
                    return .perWorker(.counter, "\(metric.name)_total", metric.help) {
                        .count($0[id])
                    }
                case .gauge:
                    return .perWorker(.gauge, metric.name, metric.help) { .count($0[id]) }
                }
            }
    }

    // ---- What decides about them.

    private static let policy: [Metric] = [
        .labelled(.counter, "rule_hits_total", "Packets that a rule matched") {
            $0.rules.map { ([("rule", $0.name)], $0.hits) }
        },
        .labelled(.counter, "endpoint_packets_total", "Packets by GWLB endpoint and verdict") {
            $0.endpoints.flatMap { entry in
                [("forward", entry.forwarded), ("drop", entry.dropped)].map { verdict, count in
                    ([("endpoint", entry.name), ("verdict", verdict)], count)
                }
            }
        },
    ]

    private static let events: [Metric] = [
        .perWorker(.counter, "events_emitted_total", "Events handed to the control side") {
            .count($0.eventsEmitted)
        },
        .perWorker(.counter, "events_lost_total", "Events that found no room or were too many") {
            .count($0.eventsLost)
        },
    ]

    @Sendable private static func processor(_ name: String) -> Metric {
        .perWorker(.counter, "processor_\(name)_total", "Counted by the processor") {
            .count($0.processor[name] ?? 0)
        }
    }

    // ---- Workers.

    private static let workers: [Metric] = [
        .histogram(
            "burst_packets", "Packets per burst", bounds: CounterBlock.burstBounds,
            buckets: { readings in
                (0...CounterBlock.burstBounds.count).map { bucket in
                    readings.workers.reduce(0) { $0 + $1.bursts[bucket] }
                }
            },
            sum: { $0.total(.packetsReceived) }),
        .perWorker(
            .gauge, "worker_heartbeat_age_seconds", "Time since the worker made progress"
        ) { .number($0.heartbeatAge) },
        .perWorker(
            .gauge, "worker_busy_ratio", "Share of the last second spent on packets"
        ) { .number($0.busyRatio) },
    ]

    // ---- The appliance.

    private static let configuration: [Metric] = [
        .single(.gauge, "config_generation", "Generation of the configuration in force") {
            $0.reloads.generation
        },
        .labelled(
            .counter, "config_reloads_total", "Reloads of the configuration, by result"
        ) {
            [
                ([("result", "success")], $0.reloads.succeeded),
                ([("result", "failure")], $0.reloads.failed),
            ]
        },
        .single(.gauge, "config_last_reload_success", "0 when the last reload was refused") {
            $0.reloads.lastSucceeded ? 1 : 0
        },
        .number("config_last_reload_timestamp_seconds", "End of the last reload, Unix time") {
            $0.reloads.lastTime
        },
        .number("reload_duration_seconds", "Time that the last reload took until it was published")
        {
            $0.reloads.lastDuration
        },
        .labelled(.gauge, "config_info", "The config file in force, always 1") {
            $0.reloads.digest.map { [([("sha256", $0)], 1)] } ?? []
        },
        .single(.gauge, "policy_memory_bytes", "Memory of the policy's tables") {
            UInt64($0.reloads.policyBytes)
        },
    ]

    private static let appliance: [Metric] = [
        .single(.gauge, "healthy", "1 while /health answers 200") { $0.health.isHealthy ? 1 : 0 },
        .single(.gauge, "draining", "1 while the appliance drains") {
            $0.health == .draining ? 1 : 0
        },
        .labelled(.gauge, "build_info", "Version of the program, always 1") {
            [([("version", $0.version), ("swift", SluiceVersion.swift), ("io", $0.backend)], 1)]
        },
        .single(
            .counter, "unclaimed_packets_total",
            "Packets that reached UDP port 6081 of this host and that no worker took"
        ) { $0.unclaimed },
        .labelled(
            .counter, "nic_allowance_exceeded_total",
            "Packets that EC2 queued or dropped beyond an allowance of the instance"
        ) {
            $0.allowances.map { ([("interface", $0.interface), ("kind", $0.kind)], $0.packets) }
        },
    ]

    private static let process: [Metric] = [
        .process(.counter, "cpu_seconds_total", "CPU time used") { $0.cpuSeconds },
        .process(.gauge, "resident_memory_bytes", "Resident memory") { Double($0.residentBytes) },
        .process(.gauge, "virtual_memory_bytes", "Virtual memory") { Double($0.virtualBytes) },
        .process(.gauge, "start_time_seconds", "Start of the process, Unix time") { $0.startTime },
        .process(.gauge, "open_fds", "Open file descriptors") { Double($0.openDescriptors) },
        .process(.gauge, "max_fds", "Limit of open file descriptors") {
            Double($0.maxDescriptors)
        },
    ]
}
