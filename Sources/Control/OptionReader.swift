import Dataplane
import Logging
import PacketIO
import Support
import Wire

/// Turns flags and `SLUICE_*` environment variables into options; flags win. Every complaint
/// names the flag or variable, what was found and what was expected.
public struct OptionReader {
    private let flags: [String: String]
    private let environment: [String: String]

    /// - Parameters:
    ///   - flags: by name without dashes, such as "drain-minimum".
    ///   - environment: the process's.
    public init(flags: [String: String], environment: [String: String]) {
        self.flags = flags
        self.environment = environment
    }

    /// - Throws: `Failure` with exit code 64 for a flag, 78 for a variable.
    /// - Parameter file: what holds where neither flag nor variable says otherwise.
    public func read(over file: RunOptions = RunOptions()) throws(Failure) -> RunOptions {
        var options = file
        try readPlacement(&options)
        try readPorts(&options)
        try readPath(&options)
        options.drain.minimum = try duration("drain-minimum") ?? options.drain.minimum
        options.drain.idle = try duration("drain-idle") ?? options.drain.idle
        options.drain.timeout = try duration("drain-timeout") ?? options.drain.timeout
        return options
    }

    /// Nil = neither flag nor variable says.
    public func readLog() throws(Failure) -> (level: Logger.Level?, format: LineLogHandler.Format?)
    {
        let level = try value("log-level", "trace, debug, info, notice, warning, error or critical")
        {
            Logger.Level(rawValue: $0)
        }
        let format = try value("log-format", "text or json") { LineLogHandler.Format(rawValue: $0) }
        return (level, format)
    }

    /// Forward what cannot be decoded; nil = neither flag nor variable says.
    func readOnError() throws(Failure) -> Bool? {
        try value("on-error", "drop or forward") { ["drop": false, "forward": true][$0] }
    }

    private func readPlacement(_ options: inout RunOptions) throws(Failure) {
        if let names = found("interface")?.text {
            options.interfaces =
                names == "auto" ? [] : names.split(separator: ",").map(String.init)
            if options.interfaces.contains("auto") {
                throw Failure(.usage, "interface: name interfaces or say auto, not both")
            }
        }
        if found("io") != nil {
            options.backend = try choice("io", IOBackend.choices) {
                IOBackend(rawValue: $0)
            }
        }
        if found("workers") != nil {
            options.workers = try choice("workers", "auto or a number from 1 to 1024") {
                Int($0).flatMap { (1...1024).contains($0) ? $0 : nil }
            }
        }
        if found("cpus") != nil {
            options.cpus =
                try choice("cpus", "auto or a list such as 1-3,7") { CPUList.parse($0) } ?? []
        }
        options.busyPoll = try flag("busy-poll") ?? options.busyPoll
        options.steersByCPU =
            try value("steer", "flow or cpu") { ["flow": false, "cpu": true][$0] }
            ?? options.steersByCPU
        if options.steersByCPU, options.backend?.traits.steersByCPU == false {
            throw Failure(.usage, "--steer cpu needs --io \(IOBackend.steeringByCPU)")
        }
        options.bypassesQdisc = try flag("qdisc-bypass") ?? options.bypassesQdisc
        options.flowsPerWorker =
            try value("flows-per-worker", "a power of two from 8 to 16777216") {
                Int($0).flatMap { (8...1 << 24).contains($0) && $0 & ($0 - 1) == 0 ? $0 : nil }
            } ?? options.flowsPerWorker
    }

    private func readPorts(_ options: inout RunOptions) throws(Failure) {
        let expected = "an IPv4 address and port such as 0.0.0.0:8080"
        options.address =
            try value("address", "an IPv4 address or any") {
                $0 == "any" ? 0 : IPv4Address.parse($0)
            } ?? options.address
        options.health = try value("health", expected) { ListenAddress($0) } ?? options.health
        options.healthTCP =
            try value("health-tcp", "\(expected), or none") {
                $0 == "none" ? .some(nil) : ListenAddress($0).map { $0 }
            } ?? options.healthTCP
        if let tcp = options.healthTCP, tcp.port == options.health.port {
            throw Failure(
                .usage, "--health and --health-tcp both name port \(tcp.port): they need two ports")
        }
    }

    private func readPath(_ options: inout RunOptions) throws(Failure) {
        if let mtu = try value(
            "mtu", "a number from 68 to 65000",
            { (text: String) in
                Int(text).flatMap { (68...65_000).contains($0) ? $0 : nil }
            })
        {
            options.settings.mtu = mtu
            options.mtuIsSet = true
        }
        options.settings.requireAWSOptions =
            try flag("require-aws-options") ?? options.settings.requireAWSOptions
        options.zeroOuterChecksum =
            try value("outer-checksum", "compute or zero") {
                ["compute": false, "zero": true][$0]
            } ?? options.zeroOuterChecksum
        options.settings.verifyOuterChecksum =
            try value("verify-outer-checksum", "never, rewrites or always") {
                ["never": .never, "rewrites": .rewrites, "always": .always][$0]
            } ?? options.settings.verifyOuterChecksum
        options.settings.forwardsUndecodable =
            try readOnError() ?? options.settings.forwardsUndecodable
        if let prefixes = try value(
            "allow-sources", "IPv4 prefixes such as 10.0.0.0/8,192.0.2.1/32", OptionReader.prefixes)
        {
            options.allowedSources = prefixes
        }
    }

    // ---- Kinds of values.

    private struct Found {
        var text: String
        /// How the user wrote it: `--mtu` or `SLUICE_MTU`.
        var name: String
        var code: Failure.Code
    }

    private func found(_ key: String) -> Found? {
        if let text = flags[key] { return Found(text: text, name: "--\(key)", code: .usage) }
        let variable = "SLUICE_" + key.uppercased().map { $0 == "-" ? "_" : String($0) }.joined()
        return environment[variable].map { Found(text: $0, name: variable, code: .config) }
    }

    private func value<T>(
        _ key: String, _ expected: String, _ parse: (String) -> T?
    ) throws(Failure) -> T? {
        guard let found = found(key) else { return nil }
        guard let value = parse(found.text) else {
            throw Failure(found.code, "\(found.name): expected \(expected), found '\(found.text)'")
        }
        return value
    }

    /// As `value`, with `auto` meaning nil.
    private func choice<T>(
        _ key: String, _ expected: String, _ parse: (String) -> T?
    ) throws(Failure) -> T? {
        if found(key)?.text == "auto" { return nil }
        return try value(key, expected, parse)
    }

    private func flag(_ key: String) throws(Failure) -> Bool? {
        try value(key, "true or false") { Bool($0) }
    }

    /// Nanoseconds, from seconds such as "30", "0.5" or "30s".
    private func duration(_ key: String) throws(Failure) -> UInt64? {
        try value(key, "seconds such as 30 or 30s") { text in
            let number = text.hasSuffix("s") ? String(text.dropLast()) : text
            guard let seconds = Double(number), (0...86_400).contains(seconds) else { return nil }
            return UInt64(seconds * 1e9)
        }
    }

    /// Nil when any part is not a prefix.
    private static func prefixes(_ text: String) -> [(address: UInt32, length: Int)]? {
        var list: [(address: UInt32, length: Int)] = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let ends = part.split(separator: "/", omittingEmptySubsequences: false)
            guard let first = ends.first, let address = IPv4Address.parse(first),
                let length = ends.count == 1 ? 32 : ends.count == 2 ? Int(ends[1]) : nil,
                (0...32).contains(length)
            else { return nil }
            list.append((address, length))
        }
        return list
    }
}
