import ArgumentParser
import Explain
import Foundation
import Logging
import PacketIO
import Support

/// A program with the command line of `sluice`, around the processors that it may run.
struct Program {
    let processor: WorkerBody
    /// Where no config file is given.
    let builtIn: WorkerBody

    /// As it was called.
    static var name: String { Arguments.program ?? "sluice" }

    func runAndExit() -> Never {
        StandardDescriptors.hold()
        let name = Program.name
        guard !Arguments.given.isEmpty else {
            Failure(.usage, "say what to do: run, check, reload or version (see \(name) help)")
                .printAndExit(program: name)
        }
        do {
            var command = try Root.parseAsRoot(Arguments.given)
            switch command {
            case let run as Run: try run.run(self)
            case let check as Check: try check.run(self)
            default: try command.run()
            }
            try StandardDescriptors.flush()
            exit(0)
        } catch let failure as Failure {
            failure.printAndExit(program: name)
        } catch let errors as ConfigErrors {
            errors.printAndExit()
        } catch {
            // Help and version are "errors" with exit code 0.
            guard Root.exitCode(for: error) != .success else { Root.exit(withError: error) }
            let message = Root.message(for: error).split(separator: "\n").first ?? "bad usage"
            Failure(.usage, "\(message) (see \(name) help)").printAndExit(program: name)
        }
    }
}

struct Root: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: Program.name,
        abstract: "A virtual appliance for AWS Gateway Load Balancer.",
        subcommands: [Run.self, Check.self, Reload.self, Version.self])
}

struct Run: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Serve traffic until a signal ends it.",
        discussion: """
            Without flags: what is built in, on every local address, health on 0.0.0.0:8080. \
            Every flag is also an environment variable: SLUICE_DRAIN_MINIMUM is --drain-minimum. \
            Flags beat variables, which beat the file, which beats the defaults.

            SIGHUP, or sluice reload, reads the file again. SIGTERM drains: health turns 503, \
            packets flow until they end. SIGINT, or a second SIGTERM, stops at once.

            Exit codes: 0 stopped cleanly, 64 bad usage, 71 a system call failed, 77 missing \
            privilege, 78 bad configuration.
            """)

    @Option(help: .setting("config")) var config: String?
    @Option(help: .setting("interface")) var interface: [String] = []
    @Option(help: .setting("address")) var address: String?
    @Option(help: .setting("io")) var io: String?
    @Option(help: .setting("workers")) var workers: String?
    @Option(help: .setting("cpus")) var cpus: String?
    @Option(help: .setting("steer")) var steer: String?
    @Flag(help: .setting("busy-poll")) var busyPoll = false
    @Option(help: .setting("health")) var health: String?
    @Option(help: .setting("health-tcp")) var healthTcp: String?
    @Option(help: .setting("admin")) var admin: String?
    @Option(help: .setting("drain-minimum")) var drainMinimum: String?
    @Option(help: .setting("drain-timeout")) var drainTimeout: String?
    @Option(help: .setting("control")) var control: String?
    @Option(help: .setting("log-level")) var logLevel: String?
    @Option(help: .setting("log-format")) var logFormat: String?

    /// What was given, by the words of the table.
    var flags: [String: String] {
        var flags: [String: String] = [:]
        if !interface.isEmpty { flags["interface"] = interface.joined(separator: ",") }
        if busyPoll { flags["busy-poll"] = "true" }
        let given = [
            "config": config, "address": address, "io": io, "workers": workers, "cpus": cpus,
            "steer": steer, "health": health, "health-tcp": healthTcp,
            "admin": admin, "drain-minimum": drainMinimum, "drain-timeout": drainTimeout,
            "control": control,
            "log-level": logLevel, "log-format": logFormat,
        ]
        for (name, value) in given { flags[name] = value }
        return flags
    }

    func run(_ program: Program) throws {
        let environment = ProcessInfo.processInfo.environment
        var asked = Configuration()
        try OptionReader(flags: flags, environment: environment)
            .read([Settings["config"]], into: &asked)
        let body = asked.file == nil ? program.builtIn : program.processor
        let loader = ConfigLoader(
            path: asked.file, flags: flags, environment: environment, processor: body.shape)
        let configuration = try loader.load()
        let log = configuration.makeLogger()
        Appliance(
            configuration, loader: loader, body: body, control: configuration.control, log: log
        ).runAndExit(program: Program.name)
    }
}

extension ArgumentHelp {
    /// What the table of settings says of a flag.
    static func setting(_ word: String) -> ArgumentHelp {
        let setting = Settings[word]
        return ArgumentHelp("\(setting.flagHelp)", valueName: setting.placeholder)
    }
}

struct Check: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Validate a config file and print its policy in plain words.",
        discussion: """
            Exit code 78 and one line per mistake on standard error when it is wrong. With --json \
            mistakes, too, stand on standard output.

            With --explain: the packets of a capture (pcap or pcapng, of Geneve or of plain IP), \
            each with what the policy makes of it and by which rules, then a summary. Exit code 64 \
            when the capture is damaged or ends in the middle of a packet.
            """)

    @Option(help: ArgumentHelp("A capture whose packets to judge.", valueName: "pcap"))
    var explain: String?

    @Flag(help: "One JSON object a line: of each file, or with --explain of each packet.")
    var json = false

    @Flag(help: "Say nothing of files that are right.")
    var quiet = false

    @Argument(help: "Config files; - is standard input.")
    var files: [String]

    func run(_ program: Program) throws {
        guard explain == nil || files.count == 1 && !quiet else {
            throw Failure(.usage, "--explain goes with one config file, and without --quiet")
        }
        var wrong: [ConfigErrors] = []
        for (number, file) in files.enumerated() {
            do {
                try check(file, program.processor.shape, isFirst: number == 0)
            } catch let errors as ConfigErrors {
                wrong.append(errors)
                if json { print(ConfigCheck.json(file, errors)) }
            }
        }
        guard wrong.isEmpty else { throw ConfigErrors(json ? [] : wrong.flatMap(\.lines)) }
    }

    private func check(_ file: String, _ shape: ProcessorShape, isFirst: Bool) throws {
        if let explain {
            return try Explanation.write(
                config: file, capture: explain, asJSON: json, for: shape
            ) { print($0) }
        }
        let check = try ConfigCheck(file, for: shape)
        guard !quiet else { return }
        if json { return print(check.json) }
        if !isFirst { print("") }
        for line in check.lines { print(line) }
    }
}

struct Reload: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Let the running appliance read its config file again.",
        discussion: """
            Returns when every worker uses the new configuration. A file that is wrong changes \
            nothing: its mistakes are printed, and the exit code is 78.
            """)

    @Option(help: .setting("control")) var control: String?

    func run() throws {
        let path = try controlPath(environment: ProcessInfo.processInfo.environment)
        let reply = try ControlClient.ask("reload", path: path)
        guard reply.ok else { throw ConfigErrors(reply.errors ?? ["refused without a reason"]) }
        print("generation \(reply.generation ?? 0)")
    }

    /// Nil = the default one. A misspelt variable must not lead to another appliance.
    func controlPath(environment: [String: String]) throws(Failure) -> String? {
        let options = OptionReader(
            flags: control.map { ["control": $0] } ?? [:], environment: environment)
        try options.checkVariables()
        var asked = Configuration()
        try options.read([Settings["control"]], into: &asked)
        return asked.control
    }
}

struct Version: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Print the version.")

    func run() {
        let name = Program.name == "sluice" ? "" : "\(Program.name): "
        print("\(name)sluice \(SluiceVersion.text) (Swift \(SluiceVersion.swift))")
    }
}
