import Dataplane
import Support
import Testing

@testable import Appliance
@testable import Configuration
@testable import RuleEngine

/// A processor with one key of every kind.
private struct Configured: PacketProcessor {
    enum Mode: String, Decodable { case quiet, loud }
    struct Limits: Decodable, Sendable {
        var rate = 10
        var burst: UInt8 = 20
    }
    struct Configuration: Decodable, Sendable {
        var maximumSize = 1500
        var isOn = false
        var share = 0.5
        var names: [String] = ["a"]
        var mode = Mode.quiet
        var limits = Limits()
        var weights: [String: Int] = [:]
        var note: String?
    }

    static let defaultConfiguration: Configuration? = Configuration()

    static func validate(_ configuration: Configuration) throws {
        guard configuration.limits.rate > 0 else {
            throw ConfigurationError("must be above 0", key: "limits.rate")
        }
    }

    init(configuration: Configuration, worker: Int) {}

    mutating func process(
        _ packet: inout Packet, flow: inout NoFlowState, context: inout Context
    ) -> Verdict { .forward }
}

/// Without defaults: every key that is not optional must be there.
private struct Strict: PacketProcessor {
    struct Configuration: Decodable, Sendable {
        var dnsPort: UInt16
        var note: String?
    }

    init(configuration: Configuration, worker: Int) {}

    mutating func process(
        _ packet: inout Packet, flow: inout NoFlowState, context: inout Context
    ) -> Verdict { .forward }
}

@Suite("The section processor")
struct ProcessorSectionTests {
    private func read<P: PacketProcessor & ~Copyable>(
        _ type: P.Type, _ text: String
    ) throws -> P.Configuration {
        let shape = ProcessorShape(type)
        let file = try ConfigFile.parse(text, path: "test.yaml", for: shape)
        return try file.processor.read(policy: nil, shape.read) as! P.Configuration
    }

    private func errors<P: PacketProcessor & ~Copyable>(_ type: P.Type, _ text: String) -> [String]
    {
        let errors = #expect(throws: ConfigErrors.self) { try read(type, text) }
        return errors?.lines ?? []
    }

    @Test func `what the file leaves out is as the defaults say`() throws {
        for text in ["log: {}\n", "processor:\n", "processor: {}\n", "mtu: 1500\n"] {
            let found = try read(Configured.self, text)
            #expect(found.maximumSize == 1500)
            #expect(!found.isOn)
            #expect(found.share == 0.5)
            #expect(found.names == ["a"])
            #expect(found.mode == .quiet)
            #expect(found.limits.rate == 10)
            #expect(found.note == nil)
        }
    }

    @Test func `every kind of value is read`() throws {
        let found = try read(
            Configured.self,
            """
            processor:
              maximum-size: 9000
              is-on: true
              share: 1.25
              names: [b, "c"]
              mode: loud
              limits: { rate: 7 }
              weights: { someName: 1, other-name: 2 }
              note: "42"
            """)
        #expect(found.maximumSize == 9000)
        #expect(found.isOn)
        #expect(found.share == 1.25)
        #expect(found.names == ["b", "c"])
        #expect(found.mode == .loud)
        #expect(found.limits.rate == 7)
        #expect(found.limits.burst == 20)
        #expect(found.weights == ["someName": 1, "other-name": 2])
        #expect(found.note == "42")
    }

    @Test(arguments: [
        (
            "\n  maximum-sise: 1",
            "2: processor: unknown key 'maximum-sise': did you mean maximum-size?"
        ),
        (
            "\n  is-on: true\n  maximum-size: many",
            "3: processor.maximum-size: expected a whole number from -9223372036854775808 to "
                + "9223372036854775807, found 'many'"
        ),
        ("\n  is-on: yes", "2: processor.is-on: expected true or false, found 'yes'"),
        ("\n  names: x", "2: processor.names: expected a list, found 'x'"),
        ("\n  names: [a, {}]", "2: processor.names[1]: expected text, found keys and values"),
        (
            "\n  limits:\n    burst: 256",
            "3: processor.limits.burst: expected a whole number from 0 to 255, found '256'"
        ),
        (
            "\n  limits:\n    speed: 1",
            "3: processor.limits: unknown key 'speed': expected one of rate, burst"
        ),
        ("\n  limits:\n    rate: 0", "3: processor.limits.rate: must be above 0"),
        (
            "\n  mode: silent",
            "2: processor.mode: Cannot initialize Mode from invalid String value silent"
        ),
        (" 7", "1: processor: expected keys and values, found '7'"),
    ])
    func `a mistake is named with its line`(section: String, message: String) {
        #expect(errors(Configured.self, "processor:" + section + "\n") == ["test.yaml:" + message])
    }

    @Test func `mistakes of other sections are named beside it`() {
        #expect(
            errors(Configured.self, "mtu: none\nprocessor: { is-on: 1 }\n") == [
                "test.yaml:1: mtu: expected a number from 68 to 65000, found 'none'",
                "test.yaml:2: processor.is-on: expected true or false, found '1'",
            ])
    }

    @Test func `a key without default must be there`() throws {
        #expect(
            errors(Strict.self, "mtu: 1500\nprocessor: { note: x }\n")
                == ["test.yaml:2: processor: needs the key dns-port"])
        #expect(
            errors(Strict.self, "processor:\n  note: x\n  dns-prot: 53\n")
                == ["test.yaml:3: processor: unknown key 'dns-prot': did you mean dns-port?"])
        #expect(
            errors(Strict.self, "log: {}\n") == ["test.yaml:1: processor: needs the key dns-port"])
        #expect(try read(Strict.self, "processor: { dnsPort: 53 }").dnsPort == 53)
        #expect(try read(Strict.self, "processor: { dns-port: 53 }").dnsPort == 53)
    }

    @Test func `both parts of a chain read the section`() throws {
        typealias Both = Chain<Configured, Chain<Strict, Rules>>
        let found = try read(Both.self, "processor: { maximum-size: 1, dns-port: 53 }")
        #expect(found.first.maximumSize == 1)
        #expect(found.second.first.dnsPort == 53)
        #expect(
            errors(Both.self, "processor:\n  dns-port: 53\n  dms-port: 54\n")
                == ["test.yaml:3: processor: unknown key 'dms-port': did you mean dns-port?"])
    }

    @Test func `a program without rules refuses a policy, one without a processor a section`() {
        #expect(
            errors(Strict.self, "policy: {}\nprocessor: { dns-port: 1 }\n")
                == ["test.yaml:1: policy: this program decides without rules"])
        for text in ["processor: { a: 1 }\n"] {
            #expect(
                errors(Rules.self, text) == [
                    "test.yaml:1: processor: this program has no processor of its own to configure"
                ])
        }
    }

    @Test(arguments: [
        ("dnsQueries", "dns_queries"), ("DNSQueries", "dns_queries"), ("seen", "seen"),
        ("sizeTo1500", "size_to1500"), ("tlsHellos", "tls_hellos"), ("a_b", "a_b"),
        ("größe", "gr__e"), ("with space", "with_space"), ("HTTP", "http"),
    ])
    func `names of counters become names of metrics`(name: String, metric: String) {
        #expect(ProcessorReading.metricName(name) == metric)
    }

    @Test func `counters and events are metrics, equal names are one`() {
        var worker = Readings.WorkerReading()
        worker.bursts = [UInt64](repeating: 0, count: 8)
        worker.processor = ["seen": 3, "dns_queries": 4]
        worker.eventsEmitted = 5
        worker.eventsLost = 6
        var readings = Readings()
        readings.workers = [worker]
        readings.processorCounters = ["seen", "dns_queries"]
        let lines = MetricsText.render(readings).split(separator: "\n")
        #expect(lines.contains("sluice_processor_seen_total{worker=\"0\"} 3"))
        #expect(lines.contains("sluice_processor_dns_queries_total{worker=\"0\"} 4"))
        #expect(lines.contains("sluice_events_emitted_total{worker=\"0\"} 5"))
        #expect(lines.contains("sluice_events_lost_total{worker=\"0\"} 6"))
        #expect(
            StatusJSON.status(readings).contains("\"processor\":{\"dns_queries\":4,\"seen\":3}"))
    }
}
