import Capture
import Dataplane
import Foundation
import Logging
import PacketIO
import Support
import Wire
import Yams

/// The configuration of an appliance: what the file, the environment and the flags say together.
public struct Configuration: Sendable {
    public var run = RunOptions()
    public var policy = PolicySet()
    /// For the program's own processor.
    var processor = ProcessorSection()
    public var logLevel = Logger.Level.info
    public var logFormat = LineLogHandler.Format.text
    /// The file says nothing at all.
    var isEmpty = false

    public init() {}

    public func makeLogger() -> Logger {
        Logger(label: "sluice") { _ in LineLogHandler(level: logLevel, format: logFormat) }
    }

    /// Steered by CPU, the packets of one flow meet several workers, and each has its own state.
    func checkSteering(_ path: String) throws(ConfigErrors) {
        guard run.steersByCPU, !run.allowsSplitFlows, let need = policy.needsWholeFlows else {
            return
        }
        throw ConfigErrors([
            "\(path): steering by CPU splits flows, but the policy uses \(need): steer by flow, "
                + "do without it, or say flows: { allow-split-flows: true }"
        ])
    }
}

/// The YAML file, read strictly: unknown keys, wrong types and impossible values are errors with
/// file, line, what was found and what was expected.
public enum ConfigFile {
    private static let limit = 16 << 20

    /// - Throws: every mistake, one line each.
    public static func read(_ path: String) throws(ConfigErrors) -> Configuration {
        try read(path, for: ProcessorShape(Rules.self))
    }

    /// - Parameter processor: whose configuration it is.
    static func read(_ path: String, for processor: ProcessorShape) throws(ConfigErrors)
        -> Configuration
    {
        try parse(try text(of: path), path: path, for: processor)
    }

    static func text(of path: String) throws(ConfigErrors) -> String {
        let bytes = try FileBytes.read(path, limit: limit)
        guard let text = String(validating: bytes, as: UTF8.self) else {
            let lines = bytes.split(separator: 10, omittingEmptySubsequences: false)
            let wrong = lines.firstIndex { String(validating: $0, as: UTF8.self) == nil } ?? 0
            throw ConfigErrors(["\(path):\(wrong + 1): not UTF-8 text"])
        }
        return text
    }

    static func parse(
        _ text: String, path: String, for processor: ProcessorShape = ProcessorShape(Rules.self)
    ) throws(ConfigErrors) -> Configuration {
        var configuration = Configuration()
        configuration.processor = ProcessorSection(path: path)
        guard let root = try YAMLText.compose(text, path) else {
            configuration.isEmpty = true
            _ = try configuration.processor.read(policy: nil, processor.read)
            return configuration
        }
        let problems = Problems(path: path)
        let folder = path.lastIndex(of: "/").map { String(path[...$0]) } ?? ""
        var reader = ConfigReader(path: path, folder: folder, processor: processor)
        reader.read(
            ConfigField(node: root, name: "", problems: problems), into: &configuration)
        guard problems.isEmpty else { throw problems.errors }
        return configuration
    }
}

/// Whole files: regular ones, bounded.
enum FileBytes {
    static func read(_ path: String, limit: Int) throws(ConfigErrors) -> [UInt8] {
        do throws(WholeFile.Failure) {
            return try WholeFile.bytes(of: path, limit: limit)
        } catch {
            throw ConfigErrors([error.description])
        }
    }
}

/// Reads the sections of the file, in the order in which the documentation has them.
struct ConfigReader {
    let path: String
    /// Where `@file` names are looked up: the folder of the config file, with its slash.
    let folder: String
    /// Whose configuration it is.
    let processor: ProcessorShape

    mutating func read(_ root: ConfigField, into configuration: inout Configuration) {
        guard
            let fields = root.section([
                "listen", "health", "drain", "geneve", "mtu", "flows", "policy", "log", "processor",
            ])
        else { return }
        if let field = fields["listen"] { readListen(field, &configuration.run) }
        if let field = fields["health"] { readHealth(field, &configuration.run) }
        if let field = fields["drain"] { readDrain(field, &configuration.run.drain) }
        if let field = fields["geneve"] { readGeneve(field, &configuration.run) }
        if let field = fields["mtu"], let mtu = field.integer(68...65_000) {
            configuration.run.settings.mtu = mtu
            configuration.run.mtuIsSet = true
        }
        if let field = fields["flows"] { readFlows(field, &configuration.run) }
        if let field = fields["policy"] {
            if processor.hasRules {
                readPolicy(field, &configuration)
            } else {
                field.fail("this program decides without rules")
            }
        }
        if let field = fields["log"] { readLog(field, &configuration) }
        if let field = fields["processor"] {
            configuration.processor = ProcessorSection(field.node, path: path)
        }
        _ = configuration.processor.read(policy: nil, root.problems, processor.read)
    }

    private func readListen(_ field: ConfigField, _ run: inout RunOptions) {
        guard
            let fields = field.section([
                "interface", "address", "io", "workers", "cpus", "steer", "busy-poll",
                "qdisc-bypass", "ring", "allow-sources",
            ])
        else { return }
        if let field = fields["interface"], field.plain != "auto",
            let names = field.all("an interface name", { $0.text("an interface name or auto") })
        {
            run.interfaces = names
            // IFNAMSIZ, and what the kernel forbids (dev_valid_name).
            for name in names
            where !(1...15).contains(name.utf8.count)
                || name.contains(where: { $0.isWhitespace || $0 == "/" || $0 == ":" })
            {
                field.fail("no interface can have the name '\(name)'")
            }
            if names.contains("auto") { field.fail("name interfaces or say auto, not both") }
        }
        if let field = fields["address"], field.plain != "any" {
            run.address = ConfigReader.ipv4(field, "an IPv4 address or any") ?? 0
        }
        if let field = fields["io"], field.plain != "auto" { run.backend = readBackend(field) }
        if let field = fields["workers"], field.plain != "auto" {
            run.workers = field.integer(1...1024, "auto or a number")
        }
        if let field = fields["cpus"], field.plain != "auto" {
            // One CPU is written as a number.
            let text = field.node.scalar?.string
            run.cpus =
                text.flatMap { CPUList.parse($0) } ?? field.expected("auto or a list such as 1-3,7")
                ?? []
        }
        if let field = fields["steer"] {
            run.steersByCPU = field.choice(["flow": false, "cpu": true]) ?? false
            if run.steersByCPU, run.backend?.traits.steersByCPU == false {
                field.fail("steer: cpu needs io: \(IOBackend.steeringByCPU)")
            }
        }
        if let field = fields["busy-poll"] { run.busyPoll = field.flag() ?? false }
        if let field = fields["qdisc-bypass"] { run.bypassesQdisc = field.flag() ?? true }
        if let ring = fields["ring"]?.section(["frames", "frame-size"]) {
            run.ringFrames = ring["frames"]?.integer(64...1 << 20) ?? run.ringFrames
            run.frameSize = ring["frame-size"]?.integer(2048...65_536) ?? run.frameSize
        }
        if let field = fields["allow-sources"] {
            run.allowedSources = readSources(field)
        }
    }

    private func readBackend(_ field: ConfigField) -> IOBackend? {
        let word = field.plain ?? ""
        let names = ["auto"] + IOBackend.allCases.map(\.rawValue)
        if let backend = IOBackend(rawValue: word) { return backend }
        return field.expected(ConfigField.oneOf(names))
    }

    private func readSources(_ field: ConfigField) -> [(address: UInt32, length: Int)] {
        let expected = "an IPv4 prefix such as 10.0.0.0/8"
        let ranges = field.all(expected) { item -> (address: UInt32, length: Int)? in
            guard let text = item.text(expected) else { return nil }
            switch AddressText.prefix(Array(text.utf8)) {
            case .success(let prefix) where !prefix.isIPv6:
                return (UInt32(prefix.address), prefix.length)
            case .success: return item.expected(expected)
            case .failure(let reason): return item.fail(reason.text(expected, text))
            }
        }
        return ranges ?? []
    }

    static func ipv4(_ field: ConfigField, _ what: String) -> UInt32? {
        guard let address = field.node.scalar.flatMap({ IPv4Address.parse($0.string) }) else {
            return field.expected(what)
        }
        return address
    }

    private func readHealth(_ field: ConfigField, _ run: inout RunOptions) {
        guard let fields = field.section(["address", "tcp"]) else { return }
        let expected = "an IPv4 address and port such as 0.0.0.0:8080"
        if let field = fields["address"] {
            run.health =
                field.node.scalar.flatMap { ListenAddress($0.string) } ?? field.expected(expected)
                ?? run.health
        }
        if let field = fields["tcp"], field.plain != "none" {
            run.healthTCP =
                field.node.scalar.flatMap { ListenAddress($0.string) }
                ?? field.expected("\(expected), or none")
            if run.healthTCP?.port == run.health.port {
                field.fail("port \(run.health.port) is that of health.address: they need two ports")
            }
        }
    }

    private func readDrain(_ field: ConfigField, _ drain: inout DrainLimits) {
        guard let fields = field.section(["minimum", "idle", "timeout"]) else { return }
        drain.minimum = fields["minimum"]?.duration() ?? drain.minimum
        drain.idle = fields["idle"]?.duration() ?? drain.idle
        drain.timeout = fields["timeout"]?.duration() ?? drain.timeout
        if drain.timeout < drain.minimum {
            (fields["timeout"] ?? fields["minimum"] ?? field).fail(
                "drain.timeout (\(drain.timeout / 1_000_000_000) s) is below drain.minimum "
                    + "(\(drain.minimum / 1_000_000_000) s)")
        }
    }

    private func readGeneve(_ field: ConfigField, _ run: inout RunOptions) {
        guard
            let fields = field.section([
                "require-aws-options", "outer-checksum", "verify-outer-checksum",
            ])
        else { return }
        run.settings.requireAWSOptions =
            fields["require-aws-options"]?.flag() ?? run.settings.requireAWSOptions
        run.zeroOuterChecksum =
            fields["outer-checksum"]?.choice(["compute": false, "zero": true]) ?? false
        run.settings.verifyOuterChecksum =
            fields["verify-outer-checksum"]?.choice([
                "never": .never, "rewrites": .rewrites, "always": .always,
            ]) ?? run.settings.verifyOuterChecksum
    }

    private func readFlows(_ field: ConfigField, _ run: inout RunOptions) {
        guard
            let fields = field.section([
                "per-worker", "tcp-idle", "other-idle", "on-full", "allow-split-flows",
            ])
        else { return }
        if let field = fields["per-worker"] {
            let value = field.integer(8...1 << 24, "a power of two")
            if let value, value & (value - 1) == 0 {
                run.flowsPerWorker = value
            } else if value != nil {
                field.expected("a power of two from 8 to 16777216")
            }
        }
        run.settings.tcpIdle =
            fields["tcp-idle"]?.duration(from: 1_000_000_000) ?? run.settings.tcpIdle
        run.settings.otherIdle =
            fields["other-idle"]?.duration(from: 1_000_000_000) ?? run.settings.otherIdle
        run.settings.dropsWhenFull =
            fields["on-full"]?.choice(["forward": false, "drop": true]) ?? false
        run.allowsSplitFlows = fields["allow-split-flows"]?.flag() ?? false
    }

    private func readLog(_ field: ConfigField, _ configuration: inout Configuration) {
        guard let fields = field.section(["level", "format"]) else { return }
        configuration.logLevel =
            fields["level"]?.choice([
                "trace": .trace, "debug": .debug, "info": .info, "notice": .notice,
                "warning": .warning, "error": .error, "critical": .critical,
            ]) ?? configuration.logLevel
        configuration.logFormat =
            fields["format"]?.choice(["text": .text, "json": .json]) ?? configuration.logFormat
    }
}
