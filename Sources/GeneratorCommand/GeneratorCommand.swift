import ArgumentParser
import CSluice
import Generator

@main
struct GeneratorCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sluice-gen",
        abstract: "Plays a gateway load balancer at high rate and verifies every returned packet.",
        discussion: """
            Exit codes: 0 all as expected, 1 a violation or more loss than --max-loss, 64 bad \
            usage, 71 a system call failed, 77 missing privilege.
            """,
        subcommands: [
            RunCommand.self, SearchCommand.self, SoakCommand.self, CompareCommand.self,
            ReportCommand.self, MeasureCommand.self,
        ])

    /// A usage error is one line here, as every other error is.
    static func main() {
        do {
            var command = try parseAsRoot()
            try command.run()
        } catch let complaint as Complaint {
            say(complaint.description)
            exit(withError: ExitCode(complaint.kind.rawValue))
        } catch {
            guard exitCode(for: error) == .validationFailure, !(error is ExitCode) else {
                exit(withError: error)
            }
            say("\(message(for: error)) (see sluice-gen --help)")
            exit(withError: ExitCode.validationFailure)
        }
    }
}

/// One line on standard error.
func say(_ line: String) {
    let bytes = Array("sluice-gen: \(line)\n".utf8)
    _ = write(2, bytes, bytes.count)
}
