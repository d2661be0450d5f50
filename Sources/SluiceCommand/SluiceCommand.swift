import ArgumentParser
import Foundation
import Logging
import Sluice

/// The appliance's command line.
@main
enum SluiceCommand {
    static func main() {
        StandardDescriptors.hold()
        guard CommandLine.arguments.count > 1 else {
            Failure(.usage, "say what to do: run or version (see sluice help)")
                .printAndExit(program: "sluice")
        }
        do {
            var command = try Root.parseAsRoot()
            try command.run()
        } catch let failure as Failure {
            failure.printAndExit(program: "sluice")
        } catch {
            // Help and version are "errors" with exit code 0.
            guard Root.exitCode(for: error) != .success else { Root.exit(withError: error) }
            let message = Root.message(for: error).split(separator: "\n").first ?? "bad usage"
            Failure(.usage, "\(message) (see sluice help)").printAndExit(program: "sluice")
        }
    }
}

struct Root: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sluice",
        abstract: "A virtual appliance for AWS Gateway Load Balancer.",
        subcommands: [Run.self, Version.self])
}

struct Run: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Serve traffic until a signal ends it.",
        discussion: """
            Without flags: the built-in policy on every local address, health on 0.0.0.0:8080.
            Every flag is also an environment variable: SLUICE_DRAIN_MINIMUM is --drain-minimum.

            SIGTERM drains: health turns 503, packets flow until they end. SIGINT, or a second
            SIGTERM, stops at once.

            Exit codes: 0 stopped cleanly, 64 bad usage, 71 a system call failed, 77 missing
            privilege, 78 bad configuration.
            """)

    @Option(help: "Interface to serve, or auto. May be given several times.")
    var interface: [String] = []

    @Option(help: ArgumentHelp("Our IPv4 address, or any.", valueName: "ipv4"))
    var address: String?

    @Option(help: ArgumentHelp("auto, packet, udp or raw.", valueName: "backend"))
    var io: String?

    @Option(help: ArgumentHelp("Worker threads, or auto: one per CPU.", valueName: "n"))
    var workers: String?

    @Option(help: ArgumentHelp("CPUs for the workers, such as 1-3,7.", valueName: "list"))
    var cpus: String?

    @Option(help: ArgumentHelp("How packets find their worker: flow or cpu.", valueName: "mode"))
    var steer: String?

    @Flag(help: "Spin instead of sleeping when idle.")
    var busyPoll = false

    @Option(help: ArgumentHelp("HTTP health port.", valueName: "address:port"))
    var health: String?

    @Option(
        help: ArgumentHelp(
            "A TCP port that listens only while healthy.", valueName: "address:port"))
    var healthTcp: String?

    @Option(help: ArgumentHelp("Shortest drain.", valueName: "seconds"))
    var drainMinimum: String?

    @Option(help: ArgumentHelp("Longest drain.", valueName: "seconds"))
    var drainTimeout: String?

    @Option(help: ArgumentHelp("debug, info, warning, error …", valueName: "level"))
    var logLevel: String?

    @Option(help: ArgumentHelp("text or json.", valueName: "format"))
    var logFormat: String?

    mutating func run() throws {
        var flags: [String: String] = [:]
        if !interface.isEmpty { flags["interface"] = interface.joined(separator: ",") }
        if busyPoll { flags["busy-poll"] = "true" }
        let given = [
            "address": address, "io": io, "workers": workers, "cpus": cpus, "steer": steer,
            "health": health, "health-tcp": healthTcp, "drain-minimum": drainMinimum,
            "drain-timeout": drainTimeout, "log-level": logLevel, "log-format": logFormat,
        ]
        for (name, value) in given { flags[name] = value }
        let reader = OptionReader(
            flags: flags, environment: ProcessInfo.processInfo.environment)
        let options = try reader.read()
        let (level, format) = try reader.readLog()
        let log = Logger(label: "sluice") { _ in LineLogHandler(level: level, format: format) }
        Appliance(options, processor: BlogPolicy.self, log: log).runAndExit(program: "sluice")
    }
}

struct Version: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Print the version.")

    func run() { print("sluice \(SluiceVersion.text) (Swift \(SluiceVersion.swift))") }
}
