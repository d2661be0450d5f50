import ArgumentParser
import Gateway
import Support

/// `sluice-gwlb`: a gateway load balancer on one machine.
@main
struct GatewayCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sluice-gwlb",
        abstract: "A gateway load balancer on one machine, without AWS.",
        discussion: """
            Packets of hosts come in at TUN devices, go to an appliance in Geneve exactly as \
            GWLB sends them, and are checked and delivered when they come back. What comes in on \
            the n-th device of --a is delivered on the n-th of --b, and the other way round.

            Runs until SIGINT or SIGTERM, then writes one JSON summary. Exit codes: 0 all that \
            came back was right, 1 something was not, 64 bad usage, 71 a system call failed, \
            77 missing privilege, 78 bad config file.
            """)

    @Option(help: "A YAML file with the same options; flags win over it.")
    var config: String?
    @Option(parsing: .upToNextOption, help: "TUN devices of side a.")
    var a: [String] = []
    @Option(parsing: .upToNextOption, help: "TUN devices of side b.")
    var b: [String] = []
    @Option(parsing: .upToNextOption, help: "Addresses of the GWLB nodes: local ones.")
    var listen: [String] = []
    @Option(parsing: .upToNextOption, help: "Addresses of the appliances.")
    var target: [String] = []
    @Option(
        parsing: .upToNextOption,
        help: "Endpoint ids, one for each pair (made up otherwise): vpce-0123456789abcdef0.")
    var endpoint: [String] = []
    @Option(help: "Health checks by http or tcp (default http).")
    var health: String?
    @Option(help: "Port of the health checks (default 8080).")
    var healthPort: String?
    @Option(help: "Path of the HTTP health checks (default /).")
    var healthPath: String?
    @Option(help: "Seconds from check to check (default 10).")
    var interval: String?
    @Option(help: "Successes in a row that make a target healthy (default 5).")
    var healthy: String?
    @Option(help: "Failures in a row that make it unhealthy (default 2).")
    var unhealthy: String?
    @Option(help: "Flows of an unhealthy target: no_rebalance or rebalance (default no_rebalance).")
    var failover: String?
    @Option(help: "A flow is a 5-, 3- or 2-tuple (default 5).")
    var stickiness: String?
    @Option(help: "Outer UDP checksum sent: valid or zero (default valid).")
    var outerChecksum: String?
    @Flag(help: "Answer TCP packets of lost flows by a reset, as GWLB does when told to.")
    var tcpReset = false
    @Option(help: "What the appliance should do: any, reflect or blog (default any).")
    var expect: String?
    @Option(help: "Seconds after which a returned packet is late (default 3).")
    var lateAfter: String?
    @Option(help: "Where to write the summary (default standard output).")
    var json: String?

    /// A usage error is one line here, as every other error is.
    static func main() {
        do {
            var command = try parseAsRoot(Arguments.given)
            try command.run()
        } catch {
            guard exitCode(for: error) == .validationFailure, !(error is ExitCode) else {
                exit(withError: error)
            }
            say("\(message(for: error)) (see sluice-gwlb --help)")
            exit(withError: ExitCode.validationFailure)
        }
    }

    mutating func run() throws {
        do {
            try serve()
        } catch let failure as Failure {
            say(failure.description)
            throw ExitCode(failure.code.rawValue)
        }
    }

    private func serve() throws {
        let options = try readOptions()
        let output = try open(options.json)
        var loop = try EventLoop(options)
        let (summary, violations) = loop.run()
        do {
            try output.write(summary)
        } catch {
            throw Failure(.system, "cannot write \(error)")
        }
        if violations > 0 {
            say("\(violations) violation(s) in what came back, see the summary")
            throw ExitCode(1)
        }
    }

    private func open(_ path: String?) throws(Failure) -> Files.Output {
        do {
            return try Files.Output(path)
        } catch {
            throw Failure(.system, "cannot write \(error)")
        }
    }

    private func readOptions() throws(Failure) -> Options {
        var generator = SystemRandomNumberGenerator()
        let seed = generator.next()
        guard let config else { return try Options(flags, seed: seed) }
        return try Options(try ConfigFile.read(config).overridden(by: flags), seed: seed)
    }

    private var flags: RawOptions {
        var raw = RawOptions(.usage)
        let lists = [
            ("a", a), ("b", b), ("listen", listen), ("target", target), ("endpoint", endpoint),
        ]
        for (name, texts) in lists where !texts.isEmpty { raw.set(name, texts, at: "--\(name)") }
        let singles = [
            ("health", health), ("health-port", healthPort), ("health-path", healthPath),
            ("interval", interval), ("healthy", healthy), ("unhealthy", unhealthy),
            ("failover", failover), ("stickiness", stickiness),
            ("outer-checksum", outerChecksum), ("expect", expect), ("late-after", lateAfter),
            ("json", json),
        ]
        if tcpReset { raw.set("tcp-reset", ["true"], at: "--tcp-reset") }
        for case (let name, let text?) in singles { raw.set(name, [text], at: "--\(name)") }
        return raw
    }
}

/// One line on standard error, with the program's name.
func say(_ line: String) { StandardError.write("sluice-gwlb: \(line)") }
