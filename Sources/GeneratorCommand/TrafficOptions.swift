import ArgumentParser
import Generator
import Support
import Wire

/// The flags that say what traffic is, shared by `run`, `search`, `soak` and `compare`.
struct TrafficOptions: ParsableArguments {
    @Option(help: "The interface to send on and to receive on.")
    var interface: String?
    @Option(help: "The appliance's IPv4 address, on that interface's network.")
    var target: String?
    @Option(help: "Addresses of the GWLB nodes, separated by commas (default: the interface's).")
    var source: String?
    @Option(help: "Endpoints, each with an id of its own (default 1).")
    var endpoints: String?
    @Option(help: "Inner flows, 1 to 10m (default 1000).")
    var flows: String?
    @Option(help: "Exponent of the flows' popularity by Zipf's law (default 0: all alike).")
    var zipf: String?
    @Option(help: "Flows that end each second and begin anew with another cookie (default 0).")
    var churn: String?
    @Option(help: "Inner bytes: 128, imix, 64-1500 or 64,512,1500 (default 128).")
    var size: String?
    @Option(
        help: "Protocols of the flows: udp=70,tcp=20,icmp=10, also other (that is the default).")
    var mix: String?
    @Option(
        help: """
            Payloads of UDP and TCP: neutral=80,drop=10,rewrite=10, also random, tls, dns, \
            file:NAME (default neutral). What a size has no room for is cut off.
            """)
    var payload: String?
    @Option(help: "What the appliance should do: blog or reflect (default reflect).")
    var expect: String?
    @Flag(help: "Both directions of each flow.")
    var bothDirections = false
    @Option(name: .customLong("ipv6"), help: "Share of IPv6 flows, like 0.3 or 30% (default 0).")
    var ipv6: String?
    @Option(help: "Outer UDP checksum: valid or zero (default valid).")
    var outerChecksum: String?
    @Option(help: "Share of packets that are inner fragments (default 0).")
    var fragments: String?
    @Option(help: "Share of malformed packets (default 0).")
    var malformed: String?
    @Option(help: "A pcap or pcapng file whose packets are sent instead, over and over.")
    var replay: String?
    @Option(help: "Sending threads (default 1).")
    var threads: String?
    @Option(help: "Makes the same traffic again (default 1).")
    var seed: String?
    @Option(help: "Share of packets that may get lost (default 0).")
    var maxLoss: String?
    @Option(help: "After this time a returned packet is late: 1s, 200ms (default 1s).")
    var lateAfter: String?

    /// What the flags say, checked; the load is still the default.
    func plan() throws(Failure) -> TrafficPlan {
        guard let interface, !interface.isEmpty else {
            throw Failure(.usage, "--interface is missing: name the interface to send on")
        }
        guard let target else {
            throw Failure(.usage, "--target is missing: name the appliance's IPv4 address")
        }
        var plan = TrafficPlan(
            interface: interface, target: try TrafficOptions.address("target", target))
        if let source {
            plan.sources = []
            for text in source.split(separator: ",", omittingEmptySubsequences: false) {
                plan.sources.append(try TrafficOptions.address("source", String(text)))
            }
            guard Set(plan.sources).count == plan.sources.count else {
                throw Failure(.usage, "--source names an address twice")
            }
        }
        try readFlows(&plan)
        try readPackets(&plan)
        try readShares(&plan)
        plan.threads = try number("threads", threads, 1...64) ?? 1
        if let seed {
            guard let value = UInt64(seed) else {
                throw TrafficOptions.wrong("seed", seed, "a whole number")
            }
            plan.seed = value
        }
        if let maxLoss {
            plan.maxLoss = try TrafficOptions.share("max-loss", maxLoss)
        }
        if let lateAfter {
            guard let seconds = PlanText.duration(lateAfter), (0.001...60).contains(seconds) else {
                throw TrafficOptions.wrong("late-after", lateAfter, "a time like 200ms, up to 60s")
            }
            plan.lateAfter = seconds
        }
        plan.config = config
        return plan
    }

    private func readFlows(_ plan: inout TrafficPlan) throws(Failure) {
        plan.endpoints = try number("endpoints", endpoints, 1...1_000_000) ?? 1
        plan.flows = try number("flows", flows, 1...TrafficPlan.largestFlowCount) ?? 1000
        if let zipf {
            guard let exponent = Double(zipf), (0...4).contains(exponent) else {
                throw TrafficOptions.wrong("zipf", zipf, "an exponent from 0 to 4")
            }
            plan.zipf = exponent
        }
        if let churn {
            guard let flows = PlanText.count(churn), flows <= 1_000_000 else {
                throw TrafficOptions.wrong("churn", churn, "flows per second, up to 1m")
            }
            plan.churn = Double(flows)
        }
    }

    private func readPackets(_ plan: inout TrafficPlan) throws(Failure) {
        if let size {
            let allowed = SizeMix.allowed
            guard let sizes = PlanText.sizes(size) else {
                throw TrafficOptions.wrong(
                    "size", size,
                    "inner bytes (\(allowed.lowerBound) to \(allowed.upperBound)) like 128, imix, "
                        + "64-1500 or 64,512,1500")
            }
            plan.sizes = sizes
        }
        if let mix {
            guard
                let shares = try PlanText.shares(
                    mix, { name throws(Failure) in InnerProtocol(rawValue: name) })
            else {
                throw TrafficOptions.wrong("mix", mix, "shares like udp=70,tcp=20,icmp=10,other=0")
            }
            plan.protocols = shares
        }
        if let payload {
            guard let shares = try PlanText.shares(payload, TrafficOptions.template) else {
                throw TrafficOptions.wrong(
                    "payload", payload,
                    "shares like neutral=80,drop=10,rewrite=10 "
                        + "(also random, tls, dns, file:NAME=10)")
            }
            plan.payloads = shares
        }
        plan.expectation = try choice("expect", expect) ?? .reflect
        plan.outerChecksum = try choice("outer-checksum", outerChecksum) ?? .valid
        plan.bothDirections = bothDirections
    }

    private func readShares(_ plan: inout TrafficPlan) throws(Failure) {
        if let ipv6 { plan.ipv6 = try TrafficOptions.share("ipv6", ipv6) }
        if let fragments { plan.fragments = try TrafficOptions.share("fragments", fragments) }
        if let malformed { plan.malformed = try TrafficOptions.share("malformed", malformed) }
        if let replay {
            for (flag, isGiven) in [
                ("size", size != nil), ("mix", mix != nil), ("payload", payload != nil),
                ("flows", flows != nil), ("zipf", zipf != nil), ("churn", churn != nil),
                ("ipv6", ipv6 != nil), ("fragments", fragments != nil),
                ("both-directions", bothDirections),
            ] where isGiven {
                throw Failure(
                    .usage, "--\(flag) does not go with --replay: the capture says what is sent")
            }
            plan.replay = try ReplayFile.packets(replay)
        }
    }

    // ---- One flag at a time.

    static func wrong(_ flag: String, _ text: String, _ expected: String) -> Failure {
        Failure(.usage, "--\(flag): expected \(expected), found \"\(text)\"")
    }

    static func address(_ flag: String, _ text: String) throws(Failure) -> UInt32 {
        guard let address = IPv4Address.parse(text) else {
            throw wrong(flag, text, "an IPv4 address like 192.168.20.5")
        }
        guard address != 0, address >> 28 < 0xE else {
            throw wrong(flag, text, "the IPv4 address of one host")
        }
        return address
    }

    static func share(_ flag: String, _ text: String) throws(Failure) -> Double {
        guard let share = PlanText.share(text) else {
            throw wrong(flag, text, "a share, 0 to 1 or a percentage like 5%")
        }
        return share
    }

    private func number(
        _ flag: String, _ text: String?, _ range: ClosedRange<Int>
    ) throws(Failure) -> Int? {
        guard let text else { return nil }
        guard let count = PlanText.count(text), range.contains(Int(count)) else {
            throw TrafficOptions.wrong(
                flag, text, "a number, \(range.lowerBound) to \(range.upperBound)")
        }
        return Int(count)
    }

    private func choice<T: RawRepresentable & CaseIterable>(
        _ flag: String, _ text: String?
    ) throws(Failure) -> T? where T.RawValue == String {
        guard let text else { return nil }
        guard let value = T(rawValue: text) else {
            let names = T.allCases.map(\.rawValue).joined(separator: " or ")
            throw TrafficOptions.wrong(flag, text, names)
        }
        return value
    }

    private static func template(_ name: String) throws(Failure) -> PayloadTemplate? {
        guard name.hasPrefix("file:") else { return PayloadTemplate(name: name) }
        do {
            return try PayloadTemplate(file: String(name.dropFirst(5)))
        } catch {
            throw Failure(.usage, "--payload: \(error)")
        }
    }

    /// For the report: what was given.
    private var config: [String: String] {
        var config: [String: String] = [:]
        let given = [
            ("interface", interface), ("target", target), ("source", source),
            ("endpoints", endpoints), ("flows", flows), ("zipf", zipf), ("churn", churn),
            ("size", size), ("mix", mix), ("payload", payload), ("expect", expect),
            ("ipv6", ipv6), ("outer-checksum", outerChecksum), ("fragments", fragments),
            ("malformed", malformed), ("replay", replay), ("threads", threads), ("seed", seed),
            ("max-loss", maxLoss), ("late-after", lateAfter),
        ]
        for case (let name, let text?) in given { config[name] = text }
        if bothDirections { config["both-directions"] = "true" }
        return config
    }
}
