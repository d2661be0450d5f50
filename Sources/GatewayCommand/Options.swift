import Gateway
import Support
import Wire

/// The options as they were given, by flag or in the file: text, with the place it came from.
struct RawOptions {
    struct Value {
        /// "--interval", or "gwlb.yaml:7: interval".
        let place: String
        let texts: [String]
        /// What a wrong value is: bad usage or a bad file.
        let code: Failure.Code
    }

    /// Names of flags and of keys in the file alike.
    static let names = [
        "a", "b", "listen", "target", "endpoint", "health", "health-port", "health-path",
        "interval", "healthy", "unhealthy", "failover", "stickiness", "outer-checksum", "tcp-reset",
        "expect", "late-after", "json",
    ]

    /// Those that take more than one value.
    static let lists: Set<String> = ["a", "b", "listen", "target", "endpoint"]

    /// What a missing value is.
    let code: Failure.Code
    private(set) var values: [String: Value] = [:]

    /// - Parameter code: `usage` for flags, `config` for a file.
    init(_ code: Failure.Code) { self.code = code }

    mutating func set(_ name: String, _ texts: [String], at place: String) {
        precondition(RawOptions.names.contains(name))
        values[name] = Value(place: place, texts: texts, code: code)
    }

    /// These options, each replaced by the one of `other` where that has it.
    func overridden(by other: RawOptions) -> RawOptions {
        var merged = self
        merged.values.merge(other.values) { $1 }
        return merged
    }
}

/// How a target is asked for its health.
struct HealthCheck {
    enum Method: String, CaseIterable { case http, tcp }

    var method = Method.http
    var port: UInt16 = 8080
    var path = "/"
    /// Nanoseconds.
    var timeout: UInt64 = 5_000_000_000
}

/// The options understood.
struct Options {
    var tunsA: [String]
    var tunsB: [String]
    var emulator: GatewayEmulator.Settings
    var check = HealthCheck()
    var json: String?

    /// Made up where no endpoint is given; the next pair's is one higher.
    static let firstEndpoint: UInt64 = 0x1234_5678_9abc_def0

    /// - Throws: usage errors, named by their place.
    init(_ raw: RawOptions, seed: UInt64) throws(Failure) {
        let reader = OptionReader(raw: raw)
        tunsA = try reader.required("a", "a TUN device")
        tunsB = try reader.required("b", "a TUN device")
        guard tunsA.count == tunsB.count else {
            throw Failure(
                raw.code,
                "--a names \(tunsA.count) TUN devices, --b \(tunsB.count): "
                    + "name equally many, the first of --a goes with the first of --b")
        }
        let tuns = tunsA + tunsB
        guard Set(tuns).count == tuns.count else {
            throw Failure(raw.code, "a TUN device is named twice in --a and --b: name each once")
        }
        if let long = tuns.first(where: { $0.utf8.count > 15 || $0.isEmpty }) {
            throw Failure(raw.code, "\"\(long)\" is no interface name: 1 to 15 bytes")
        }
        emulator = GatewayEmulator.Settings(
            nodes: try reader.addresses("listen"), targets: try reader.addresses("target"),
            endpoints: try Options.endpoints(reader, pairs: tunsA.count), seed: seed)
        try readHealth(reader)
        try readBehaviour(reader)
        json = try reader.one("json", "a file name", default: nil) { $0.isEmpty ? nil : $0 }
    }

    private static func endpoints(
        _ reader: OptionReader, pairs: Int
    ) throws(Failure) -> [UInt64] {
        guard let value = reader.raw.values["endpoint"] else {
            return (0..<UInt64(pairs)).map { firstEndpoint + $0 }
        }
        guard value.texts.count == pairs else {
            throw Failure(
                value.code,
                "\(value.place): \(value.texts.count) endpoints for \(pairs) pairs of TUN "
                    + "devices: name one for each, or none")
        }
        return try reader.many("endpoint", "an id like vpce-0123456789abcdef0") {
            EndpointID.parse($0)
        }
    }

    private mutating func readHealth(_ reader: OptionReader) throws(Failure) {
        check.method = try reader.choice("health", default: .http)
        check.port = try reader.one("health-port", "a port, 1 to 65535", default: 8080) {
            UInt16($0).flatMap { $0 > 0 ? $0 : nil }
        }
        check.path = try reader.one("health-path", "a path that starts with /", default: "/") {
            $0.hasPrefix("/") && $0.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F } ? $0 : nil
        }
        emulator.health.interval = try reader.duration("interval", default: .seconds(10))
        // GWLB's own default, but never longer than the interval.
        check.timeout = min(check.timeout, emulator.health.interval)
        emulator.health.healthyThreshold = try reader.count("healthy", default: 5)
        emulator.health.unhealthyThreshold = try reader.count("unhealthy", default: 2)
    }

    private mutating func readBehaviour(_ reader: OptionReader) throws(Failure) {
        emulator.failover = try reader.choice("failover", default: .noRebalance)
        emulator.outerChecksum = try reader.choice("outer-checksum", default: .valid)
        emulator.resetsTCP = try reader.one("tcp-reset", "true or false", default: false) {
            Bool($0)
        }
        emulator.expectation = try reader.choice("expect", default: .any)
        emulator.stickiness = try reader.one(
            "stickiness", "5, 3 or 2 (tuple)", default: .fiveTuple
        ) { Int($0).flatMap(Stickiness.init(rawValue:)) }
        emulator.window.lateness = try reader.duration("late-after", default: .seconds(3))
        emulator.window.memory = 4 * emulator.window.lateness
    }
}

/// Reads raw options; each failure names the place and what was expected.
struct OptionReader {
    let raw: RawOptions

    func required(_ name: String, _ what: String) throws(Failure) -> [String] {
        guard let value = raw.values[name], !value.texts.isEmpty else {
            throw Failure(
                raw.code,
                "\(name) is missing: name \(what) by --\(name) or in the file "
                    + "(see sluice-gwlb --help)")
        }
        return value.texts
    }

    func addresses(_ name: String) throws(Failure) -> [UInt32] {
        _ = try required(name, "an IPv4 address")
        let addresses = try many(name, "an IPv4 address like 10.77.0.1") {
            IPv4Address.parse($0).flatMap { $0 >> 28 < 0xE && $0 != 0 ? $0 : nil }
        }
        guard Set(addresses).count == addresses.count else {
            throw Failure(raw.code, "\(raw.values[name]!.place): an address is named twice")
        }
        return addresses
    }

    func many<T>(
        _ name: String, _ what: String, _ parse: (String) -> T?
    ) throws(Failure) -> [T] {
        guard let value = raw.values[name] else { return [] }
        var parsed: [T] = []
        for text in value.texts {
            guard let item = parse(text) else { throw expected(value, what, text) }
            parsed.append(item)
        }
        return parsed
    }

    func one<T>(
        _ name: String, _ what: String, default standard: T, _ parse: (String) -> T?
    ) throws(Failure) -> T {
        guard let value = raw.values[name], let text = value.texts.first else { return standard }
        guard let parsed = parse(text) else { throw expected(value, what, text) }
        return parsed
    }

    func choice<T: RawRepresentable & CaseIterable>(
        _ name: String, default standard: T
    ) throws(Failure) -> T where T.RawValue == String {
        let names = T.allCases.map(\.rawValue)
        return try one(
            name, names.dropLast().joined(separator: ", ") + " or " + names.last!,
            default: standard
        ) { T(rawValue: $0) }
    }

    /// Nanoseconds.
    func duration(
        _ name: String, default standard: Duration
    ) throws(Failure) -> UInt64 {
        let duration = try one(name, "seconds, 0.1 to 3600", default: standard) {
            Duration(text: $0, atMost: .seconds(3600)).flatMap {
                $0 >= .milliseconds(100) ? $0 : nil
            }
        }
        return duration.nanoseconds
    }

    func count(_ name: String, default standard: Int) throws(Failure) -> Int {
        try one(name, "a number, 1 to 100", default: standard) {
            Int($0).flatMap { (1...100).contains($0) ? $0 : nil }
        }
    }

    private func expected(
        _ value: RawOptions.Value, _ what: String, _ text: String
    ) -> Failure {
        Failure(value.code, "\(value.place): expected \(what), found \"\(text)\"")
    }
}
