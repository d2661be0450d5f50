import Dataplane
import Foundation
import Support
import Testing

@testable import Appliance

@Suite("Metrics and status")
struct MetricsTests {
    private func readings() -> Readings {
        var worker = Readings.WorkerReading()
        worker.cpu = 3
        worker.values = [
            .packetsReceived: 10, .bytesReceived: 1000, .packetsForwarded: 7, .flowsLive: 2,
        ]
        worker.drops = [.rule: 2, .send: 1]
        worker.bursts = [4, 3, 0, 0, 0, 0, 0, 1]
        worker.heartbeatAge = 0.25
        var readings = Readings()
        readings.workers = [worker, Readings.WorkerReading()]
        readings.workers[1].bursts = [UInt64](repeating: 0, count: 8)
        readings.rules = [("drop-me", 2), ("say \"hi\"\\\n", 0)]
        readings.endpoints = [.init(name: "vpce-00000000000000001", forwarded: 7, dropped: 3)]
        readings.health = .healthy
        readings.version = "1.2.3"
        readings.backend = "udp"
        return readings
    }

    private func samples() -> Set<String> {
        Set(MetricsText.render(readings()).split(separator: "\n").map(String.init))
    }

    @Test("every counter is a line with its worker")
    func counters() {
        let samples = samples()
        #expect(samples.contains("sluice_packets_received_total{worker=\"0\"} 10"))
        #expect(samples.contains("sluice_packets_received_total{worker=\"1\"} 0"))
        #expect(samples.contains("sluice_flows_live{worker=\"0\"} 2"))
        #expect(samples.contains("sluice_worker_heartbeat_age_seconds{worker=\"0\"} 0.25"))
    }

    @Test("every drop reason has a line, also at zero")
    func drops() {
        let samples = samples()
        for reason in DropReason.allCases {
            let count = reason == .rule ? 2 : reason == .send ? 1 : 0
            let line = "{worker=\"0\",reason=\"\(reason.label)\"} \(count)"
            #expect(samples.contains("sluice_packets_dropped_total" + line))
        }
    }

    @Test("burst buckets are cumulative")
    func histogram() {
        let samples = samples()
        #expect(samples.contains("sluice_burst_packets_bucket{le=\"1\"} 4"))
        #expect(samples.contains("sluice_burst_packets_bucket{le=\"2\"} 7"))
        #expect(samples.contains("sluice_burst_packets_bucket{le=\"64\"} 7"))
        #expect(samples.contains("sluice_burst_packets_bucket{le=\"+Inf\"} 8"))
        #expect(samples.contains("sluice_burst_packets_count 8"))
        #expect(samples.contains("sluice_burst_packets_sum 10"))
    }

    @Test("label values are escaped")
    func escaping() {
        #expect(samples().contains("sluice_rule_hits_total{rule=\"say \\\"hi\\\"\\\\\\n\"} 0"))
    }

    @Test func `a card's allowances are told from its other statistics`() {
        let exceeded = CardAllowances.exceeded([
            ("tx_timeout", 1), ("bw_in_allowance_exceeded", 7), ("_allowance_exceeded", 8),
            ("conntrack_allowance_available", 9), ("pps_allowance_exceeded", UInt64.max),
        ])
        #expect(exceeded.map(\.kind) == ["bw_in", "pps"])
        #expect(exceeded.map(\.packets) == [7, UInt64.max])
        #expect(CardAllowances.read(["lo", "no-such-card"]).isEmpty)
        var readings = readings()
        readings.allowances = [AllowanceReading(interface: "ens5", kind: "pps", packets: 3)]
        #expect(
            MetricsText.render(readings).contains(
                "sluice_nic_allowance_exceeded_total{interface=\"ens5\",kind=\"pps\"} 3\n"))
    }

    @Test("status holds the identity: received = forwarded + dropped")
    func status() throws {
        let json = try #require(
            try JSONSerialization.jsonObject(with: Data(StatusJSON.status(readings()).utf8))
                as? [String: Any])
        let totals = try #require(json["totals"] as? [String: Any])
        #expect(totals["received"] as? Int == 10)
        #expect(totals["forwarded"] as? Int == 7)
        #expect(totals["dropped"] as? Int == 3)
        #expect(totals["dropped_by_reason"] as? [String: Int] == ["rule": 2, "send": 1])
        #expect(
            json["drop_reasons"] as? [String: String]
                == ["rule": DropReason.rule.sentence, "send": DropReason.send.sentence])
        #expect((json["health"] as? [String: String])?["status"] == "healthy")
        #expect((json["workers"] as? [Any])?.count == 2)
    }

    @Test func `status has every metric under the name that metrics give it`() throws {
        var full = readings()
        full.processorCounters = ["dns_queries"]
        full.allowances = [AllowanceReading(interface: "ens5", kind: "pps", packets: 3)]
        for readings in [Readings(), readings(), full] {
            let metrics = try metrics(readings)
            let lines = MetricsText.render(readings).split(separator: "\n")
            let samples = lines.filter { !$0.hasPrefix("#") }
                .map { String($0.prefix { $0 != "{" && $0 != " " }) }
            // A metric without a value now is still there.
            let families = lines.filter { $0.hasPrefix("# TYPE ") }
                .map { String($0.split(separator: " ")[2]) }
            let empty = families.filter { name in !samples.contains { $0.hasPrefix(name) } }
            #expect(Set(metrics.keys) == Set(samples + empty))
            #expect(Set(families).count == families.count)
            #expect(families.count == Metrics.all(for: readings).count)
        }
    }

    @Test func `status has a metric's values with their labels`() throws {
        var readings = readings()
        readings.reloads.failed = 2
        let metrics = try metrics(readings)
        #expect(metrics["sluice_config_generation"] as? Int == 1)
        #expect(metrics["sluice_burst_packets_sum"] as? Int == 10)
        #expect((metrics["sluice_nic_allowance_exceeded_total"] as? [Any])?.isEmpty == true)
        let reloads = try #require(metrics["sluice_config_reloads_total"] as? [[String: Any]])
        #expect(reloads.map { $0["value"] as? Int } == [0, 2])
        #expect(reloads[1]["labels"] as? [String: String] == ["result": "failure"])
    }

    @Test func `the file in force and the last reload are told`() throws {
        var readings = readings()
        #expect(!MetricsText.render(readings).contains("sluice_config_info{"))
        readings.reloads.digest = "abc"
        readings.reloads.path = "/etc/sluice.yaml"
        readings.reloads.lastTime = 1.5
        readings.reloads.lastErrors = ["wrong"]
        readings.workers[0].flowCapacity = 64
        let lines = MetricsText.render(readings).split(separator: "\n")
        for line in [
            "sluice_config_info{sha256=\"abc\"} 1",
            "sluice_config_last_reload_timestamp_seconds 1.5",
            "sluice_flows_capacity{worker=\"0\"} 64", "sluice_healthy 1",
        ] { #expect(lines.contains(Substring(line)), "\(line)") }
        let status = try JSONSerialization.jsonObject(with: Data(StatusJSON.status(readings).utf8))
        let config = try #require((status as? [String: Any])?["config"] as? [String: Any])
        #expect(config["path"] as? String == "/etc/sluice.yaml")
        let reload = try #require(config["last_reload"] as? [String: Any])
        #expect(reload["errors"] as? [String] == ["wrong"])
    }

    @Test func `every counter of a worker is a metric once, or part of another`() {
        let names = Metrics.all(processorCounters: []).map(\.name)
        for metric in CounterID.allCases.compactMap(\.metric) {
            let name = "sluice_\(metric.name)" + (metric.kind == .counter ? "_total" : "")
            #expect(names.filter { $0 == name }.count == 1, "\(name)")
        }
        #expect(
            CounterID.allCases.filter { $0.metric == nil } == [.bursts, .heartbeat, .busy])
    }

    private func metrics(_ readings: Readings) throws -> [String: Any] {
        let status = try JSONSerialization.jsonObject(with: Data(StatusJSON.status(readings).utf8))
        return try #require((status as? [String: Any])?["metrics"] as? [String: Any])
    }

    @Test("health bodies name the reason")
    func health() {
        #expect(
            StatusJSON.health(.stuck(workers: [0, 2]))
                == "{\"reason\":\"no progress for more than 1 s: worker 0, 2\",\"status\":\"unhealthy\"}\n"
        )
    }
}
