import Dataplane

/// The Prometheus text format (version 0.0.4) of all counters.
struct MetricsText {
    private(set) var text = ""

    static func render(_ readings: Readings) -> String {
        var metrics = MetricsText()
        metrics.packets(readings)
        metrics.policy(readings)
        metrics.processor(readings)
        metrics.flows(readings)
        metrics.workers(readings)
        metrics.appliance(readings)
        metrics.card(readings)
        metrics.process(readings.process)
        return metrics.text
    }

    private mutating func packets(_ r: Readings) {
        perWorker(r, "packets_received", "Packets taken by the worker", .packetsReceived)
        perWorker(r, "bytes_received", "Bytes taken, outer header included", .bytesReceived)
        perWorker(r, "packets_forwarded", "Packets accepted for sending", .packetsForwarded)
        perWorker(r, "bytes_forwarded", "Bytes accepted for sending", .bytesForwarded)
        family("packets_dropped_total", "counter", "Packets not sent back, by reason")
        for (worker, reading) in r.workers.enumerated() {
            for reason in DropReason.allCases {
                sample(
                    "packets_dropped_total",
                    [("worker", "\(worker)"), ("reason", reason.label)],
                    reading.drops[reason] ?? 0)
            }
        }
        perWorker(r, "packets_rewritten", "Packets whose payload was changed", .packetsRewritten)
        perWorker(
            r, "kernel_drops",
            "Packets the socket lost before the worker: no room, or a wrong outer checksum",
            .kernelDrops)
        perWorker(r, "send_retries", "Sends tried again on a full queue", .sendRetries)
        perWorker(r, "receive_errors", "Receive calls that failed", .receiveErrors)
    }

    private mutating func policy(_ r: Readings) {
        family("rule_hits_total", "counter", "Packets that a rule matched")
        for rule in r.rules { sample("rule_hits_total", [("rule", rule.name)], rule.hits) }
        family("endpoint_packets_total", "counter", "Packets by GWLB endpoint and verdict")
        for entry in r.endpoints {
            for (verdict, count) in [("forward", entry.forwarded), ("drop", entry.dropped)] {
                sample(
                    "endpoint_packets_total", [("endpoint", entry.name), ("verdict", verdict)],
                    count)
            }
        }
    }

    private mutating func processor(_ r: Readings) {
        family("events_emitted_total", "counter", "Events handed to the control side")
        for (worker, reading) in r.workers.enumerated() {
            sample("events_emitted_total", [("worker", "\(worker)")], reading.eventsEmitted)
        }
        family("events_lost_total", "counter", "Events that found no room or were too many")
        for (worker, reading) in r.workers.enumerated() {
            sample("events_lost_total", [("worker", "\(worker)")], reading.eventsLost)
        }
        for name in r.processorCounters {
            let metric = "processor_\(name)_total"
            family(metric, "counter", "Counted by the processor")
            for (worker, reading) in r.workers.enumerated() {
                sample(metric, [("worker", "\(worker)")], reading.processor[name] ?? 0)
            }
        }
    }

    private mutating func flows(_ r: Readings) {
        family("flows_live", "gauge", "Flows in the table")
        for (worker, reading) in r.workers.enumerated() {
            sample("flows_live", [("worker", "\(worker)")], reading[.flowsLive])
        }
        perWorker(r, "flows_created", "Flows seen for the first time", .flowsCreated)
        perWorker(r, "flows_expired", "Flows removed after being idle", .flowsExpired)
        perWorker(r, "flows_evicted", "Flows removed to make room", .flowsEvicted)
        perWorker(
            r, "flow_cookie_changes", "Flows whose GWLB cookie changed", .flowCookieChanges)
    }

    private mutating func workers(_ r: Readings) {
        burstHistogram(r)
        family("worker_heartbeat_age_seconds", "gauge", "Time since the worker made progress")
        for (worker, reading) in r.workers.enumerated() {
            sample("worker_heartbeat_age_seconds", [("worker", "\(worker)")], reading.heartbeatAge)
        }
        family("worker_busy_ratio", "gauge", "Share of the last second spent on packets")
        for (worker, reading) in r.workers.enumerated() {
            sample("worker_busy_ratio", [("worker", "\(worker)")], reading.busyRatio)
        }
    }

    /// Bounds in packets; the sum is the packets received.
    private mutating func burstHistogram(_ r: Readings) {
        family("burst_packets", "histogram", "Packets per burst")
        var cumulative: UInt64 = 0
        for bucket in 0...CounterBlock.burstBounds.count {
            cumulative += r.workers.reduce(0) { $0 + $1.bursts[bucket] }
            let isLast = bucket == CounterBlock.burstBounds.count
            let bound = isLast ? "+Inf" : "\(CounterBlock.burstBounds[bucket])"
            sample("burst_packets_bucket", [("le", bound)], cumulative)
        }
        sample("burst_packets_sum", [], r.total(.packetsReceived))
        sample("burst_packets_count", [], cumulative)
    }

    private mutating func appliance(_ r: Readings) {
        family("config_generation", "gauge", "Generation of the configuration in force")
        sample("config_generation", [], r.reloads.generation)
        family("config_reloads_total", "counter", "Reloads of the configuration, by result")
        sample("config_reloads_total", [("result", "success")], r.reloads.succeeded)
        sample("config_reloads_total", [("result", "failure")], r.reloads.failed)
        family("config_last_reload_success", "gauge", "0 when the last reload was refused")
        sample("config_last_reload_success", [], r.reloads.lastSucceeded ? 1 : 0)
        family("draining", "gauge", "1 while the appliance drains")
        sample("draining", [], r.health == .draining ? 1 : 0)
        family("build_info", "gauge", "Version of the program, always 1")
        sample(
            "build_info",
            [("version", r.version), ("swift", SluiceVersion.swift), ("io", r.backend)], 1)
    }

    private mutating func card(_ r: Readings) {
        family(
            "nic_allowance_exceeded_total", "counter",
            "Packets that EC2 queued or dropped beyond an allowance of the instance")
        for reading in r.allowances {
            sample(
                "nic_allowance_exceeded_total",
                [("interface", reading.interface), ("kind", reading.kind)], reading.packets)
        }
    }

    private mutating func process(_ p: ProcessReading) {
        let gauges: [(String, String, String, Double)] = [
            ("cpu_seconds_total", "counter", "CPU time used", p.cpuSeconds),
            ("resident_memory_bytes", "gauge", "Resident memory", Double(p.residentBytes)),
            ("virtual_memory_bytes", "gauge", "Virtual memory", Double(p.virtualBytes)),
            ("start_time_seconds", "gauge", "Start of the process, Unix time", p.startTime),
            ("open_fds", "gauge", "Open file descriptors", Double(p.openDescriptors)),
            ("max_fds", "gauge", "Limit of open file descriptors", Double(p.maxDescriptors)),
        ]
        for (name, type, help, value) in gauges {
            header("process_\(name)", type, help)
            text += "process_\(name) \(value)\n"
        }
    }

    // ---- Lines.

    private mutating func perWorker(
        _ r: Readings, _ name: String, _ help: String, _ id: CounterID
    ) {
        family("\(name)_total", "counter", help)
        for (worker, reading) in r.workers.enumerated() {
            sample("\(name)_total", [("worker", "\(worker)")], reading[id])
        }
    }

    private mutating func family(_ name: String, _ type: String, _ help: String) {
        header("sluice_\(name)", type, help)
    }

    private mutating func header(_ name: String, _ type: String, _ help: String) {
        text += "# HELP \(name) \(help).\n# TYPE \(name) \(type)\n"
    }

    private mutating func sample(
        _ name: String, _ labels: [(String, String)], _ value: some CustomStringConvertible
    ) {
        text += "sluice_\(name)"
        if !labels.isEmpty {
            let list = labels.map { "\($0.0)=\"\(MetricsText.escape($0.1))\"" }
            text += "{\(list.joined(separator: ","))}"
        }
        text += " \(value)\n"
    }

    /// Label values: backslash, quote and line feed are escaped.
    static func escape(_ value: String) -> String {
        var escaped = ""
        for character in value.unicodeScalars {
            switch character {
            case "\\": escaped += "\\\\"
            case "\"": escaped += "\\\""
            case "\n": escaped += "\\n"
            default: escaped.unicodeScalars.append(character)
            }
        }
        return escaped
    }
}
