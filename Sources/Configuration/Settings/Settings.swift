import Dataplane
import PacketIO
import RuleEngine
import Support

/// All settings, in the order of the file. What reads them, compares them and tells of them goes
/// over this list.
package enum Settings {
    /// The sections of the file, and what each is about.
    static let sections: KeyValuePairs<String, String> = [
        "listen": "Where packets come in, and who works on them.",
        "listen.ring": "Room for packets that wait for their worker.",
        "health": "Where load balancers ask for the appliance's health.",
        "drain": "How long packets flow on after SIGTERM.",
        "geneve": "What is asked of the outer packet, and how answers are wrapped.",
        "flows": "The table of flows that each worker has.",
        "policy": "The rules: what becomes of each packet.",
        "log": "Lines on standard error.",
    ]

    package static let all = listen + health + drain + geneve + flows + policyAndLog + programs

    private static let listen: [Setting] = [
        Setting(
            "listen.interface", .flag("interface", placeholder: "name"), .interfaces,
            at: \.run.interfaces, .restart,
            "Interfaces to serve.",
            details:
                "The flag may be given several times. auto is the interface that owns the address, else every Ethernet interface with an IPv4 address; the MTU checked is that of the default route's."
        ),
        Setting(
            "listen.address", .flag("address", placeholder: "ipv4"), .address, at: \.run.address,
            .restart, "The only local address to serve."),
        Setting(
            "listen.io", .flag("io", placeholder: "backend"), backends, at: \.run.backend, .restart,
            "How packets come in and go out.",
            details: "auto takes packet where the host permits it, else udp."),
        Setting(
            "listen.workers", .flag("workers", placeholder: "n"), .numberOrAuto(1...1024),
            at: \.run.workers, .restart, "Worker threads.",
            details: "auto: one per CPU, one CPU left over when there are more than four."),
        Setting(
            "listen.cpus", .flag("cpus", placeholder: "list"), .cpus, at: \.run.cpus, .restart,
            "CPUs for the workers.",
            details:
                "auto: those allowed to the process, first those of the network card's NUMA node."),
        Setting(
            "listen.steer", .flag("steer", placeholder: "mode"),
            .choice(["flow": .flow, "addresses": .addresses, "cpu": .cpu]), at: \.run.steering,
            .restart,
            "What packets find their worker by: their inner flow, their inner addresses, or the CPU "
                + "that received them.",
            details: "addresses: fragments meet the flow of their ports, and all flows between two "
                + "hosts share a worker. cpu needs io: packet or udp, and a policy that keeps no state "
                + "of flows."),
        Setting(
            "listen.busy-poll", .flag("busy-poll", placeholder: nil), .flag, at: \.run.busyPoll,
            .restart, "Spin instead of sleeping when idle."),
        Setting(
            "listen.qdisc-bypass", .variable("qdisc-bypass"), .flag, at: \.run.bypassesQdisc,
            .restart, "Send past the queueing discipline (io: packet).",
            details: "Then local tcpdump does not see the answers."),
        Setting(
            "listen.ring.frames", .nowhere, .number(64...1 << 20), at: \.run.ringFrames, .restart,
            "Slots that a worker's ring has."),
        Setting(
            "listen.ring.frame-size", .nowhere, .number(2048...65_536), at: \.run.frameSize,
            .restart, "Bytes of a slot."),
        Setting(
            "listen.allow-sources", .variable("allow-sources"), .prefixes, at: \.run.allowedSources,
            .live, "Outer source addresses that packets are taken from."),
    ]

    /// Whatever backends there are.
    private static var backends: SettingKind<IOBackend?> {
        .choice(among: [("auto", nil)] + IOBackend.allCases.map { ($0.rawValue, $0) })
    }

    private static let health: [Setting] = [
        Setting(
            "health.address", .flag("health", placeholder: "address:port"), .port,
            at: \.run.health, .restart, "HTTP port for health, counters and status."),
        Setting(
            "health.tcp", .flag("health-tcp", placeholder: "address:port"), .portOrNone,
            at: \.run.healthTCP, .restart, "A second port, which listens only while healthy."),
        Setting(
            "health.admin", .flag("admin", placeholder: "address:port"), .portOrNone,
            at: \.run.admin, .restart,
            "A port of their own for counters and status, which the health port then does not tell."
        ),
    ]

    private static let drain: [Setting] = [
        Setting(
            "drain.minimum", .flag("drain-minimum", placeholder: "time"), .duration(),
            at: \.run.drain.minimum, .live,
            "Shortest drain.",
            details:
                "The load balancer needs its interval times its threshold, and more, to notice."),
        Setting(
            "drain.idle", .variable("drain-idle"), .duration(), at: \.run.drain.idle, .live,
            "After the shortest drain, this long without a packet ends it."),
        Setting(
            "drain.timeout", .flag("drain-timeout", placeholder: "time"), .duration(),
            at: \.run.drain.timeout, .live, "Longest drain."),
    ]

    private static let geneve: [Setting] = [
        Setting(
            "geneve.require-aws-options", .variable("require-aws-options"), .flag,
            at: \.run.settings.requireAWSOptions, .live,
            "Drop packets without endpoint id, attachment id and flow cookie."),
        Setting(
            "geneve.outer-checksum", .variable("outer-checksum"),
            .choice(["compute": false, "zero": true]), at: \.run.zeroOuterChecksum, .live,
            "The outer UDP checksum of answers (io: udp)."),
        Setting(
            "geneve.verify-outer-checksum", .variable("verify-outer-checksum"),
            .choice(["never": .never, "rewrites": .rewrites, "always": .always]),
            at: \.run.settings.verifyOuterChecksum, .live,
            "When the outer UDP checksum is verified (io: packet and raw; with udp the kernel does).",
            details: "rewrites: of packets that a rule rewrites."),
        Setting(
            "geneve.outer-ttl", .variable("outer-ttl"),
            .choice(["decrement": false, "keep": true]), at: \.run.settings.keepsOuterTTL, .live,
            "The outer time to live of answers: one less than it came with, or the same.",
            details:
                "With keep, appliances that answer each other do so for ever, where the network does not take one off."
        ),
        Setting(
            "mtu", .variable("mtu"), .number(68...65_000), at: \.run.mtu, .live,
            "Largest inner packet sent, bytes.",
            unsaid: "but at most what the interface carries"),
    ]

    private static let flows: [Setting] = [
        Setting(
            "flows.per-worker", .variable("flows-per-worker"), .powerOfTwo(8...1 << 24),
            at: \.run.flowsPerWorker, .restart, "Flows that a worker's table has room for.",
            details: "Give it four times the flows expected."),
        Setting(
            "flows.tcp-idle", .nowhere, .duration(atLeast: .seconds(1)),
            at: \.run.settings.tcpIdle, .live, "A TCP flow without a packet for this long is over."),
        Setting(
            "flows.other-idle", .nowhere, .duration(atLeast: .seconds(1)),
            at: \.run.settings.otherIdle, .live,
            "Another flow without a packet for this long is over."),
        Setting(
            "flows.on-full", .nowhere, .choice(["forward": false, "drop": true]),
            at: \.run.settings.dropsWhenFull, .live,
            "What becomes of a new flow whose bucket of eight entries is full of live flows.",
            details: "forward gives it the entry of the one that would be over first, and every "
                + "packet passes by the rules; drop keeps those and drops the packet, reason "
                + "flow_table_full: about 0.1 % of new flows at a quarter of the capacity in use, "
                + "3 % at a half, 12 % at three quarters."),
        Setting(
            "flows.allow-split-flows", .nowhere, .flag, at: \.run.allowsSplitFlows, .live,
            "Steer by CPU even if the policy keeps state of flows."),
    ]

    private static let policyAndLog: [Setting] = [
        Setting(
            "policy.on-error", .variable("on-error"), .choice(["drop": false, "forward": true]),
            at: \.forwardsUndecodable, .live,
            "What becomes of inner packets that cannot be decoded; the variable counts for every endpoint."
        ),
        Setting(
            "log.level", .flag("log-level", placeholder: "level"),
            .choice([
                "trace": .trace, "debug": .debug, "info": .info, "notice": .notice,
                "warning": .warning, "error": .error, "critical": .critical,
            ]), at: \.logLevel, .live, "The least important lines that are logged."),
        Setting(
            "log.format", .flag("log-format", placeholder: "format"),
            .choice(["text": .text, "json": .json]), at: \.logFormat, .live,
            "Lines for people, or one JSON object a line."),
        Setting(
            "log.rule-lines", .variable("log-rule-lines"), .number(0...100_000),
            at: \.policy.logLines, .live,
            "Lines a second that the action log writes of each rule, at most.",
            details: "What is left out is counted, and told by rule each second."),
    ]

    /// What the file cannot say.
    private static let programs: [Setting] = [
        Setting(
            nil, .flag("config", placeholder: "file"), .path("the path of a config file"),
            at: \.file, .restart, "Rules and settings, see sluice check.",
            unsaid: "the built-in policy"),
        Setting(
            nil, .flag("control", placeholder: "path"), .path("the path of a socket"),
            at: \.control, .restart, "Socket of sluice reload.", unsaid: "/run/sluice/control.sock"),
    ]

    /// - Precondition: there is one of this name: a key, or the word of a flag or variable.
    package static subscript(_ name: String) -> Setting {
        guard let setting = all.first(where: { $0.name == name || $0.word == name }) else {
            preconditionFailure("no setting \(name)")
        }
        return setting
    }

    /// Nil for sections, and for what the table does not have.
    static func of(key: String) -> Setting? { all.first { $0.key == key } }

    /// The keys directly in a section of the file, in its order.
    ///
    /// - Parameter section: such as "listen"; "" for the whole file.
    static func keys(in section: String) -> [String] {
        let prefix = section.isEmpty ? "" : section + "."
        var keys: [String] = []
        for case let key? in all.map(\.key) where key.hasPrefix(prefix) {
            let word = String(key.dropFirst(prefix.count).prefix { $0 != "." })
            if keys.last != word { keys.append(word) }
        }
        return keys
    }
}

// Where values go that are not kept as they are given.

extension RunOptions {
    /// Given, it must fit the interfaces.
    fileprivate var mtu: Int {
        get { settings.mtu }
        set {
            settings.mtu = newValue
            mtuIsSet = true
        }
    }
}

extension PathSettings {
    fileprivate var tcpIdle: Duration {
        get { .nanoseconds(Int64(tcpIdleNanoseconds)) }
        set { tcpIdleNanoseconds = newValue.nanoseconds }
    }

    fileprivate var otherIdle: Duration {
        get { .nanoseconds(Int64(otherIdleNanoseconds)) }
        set { otherIdleNanoseconds = newValue.nanoseconds }
    }
}
