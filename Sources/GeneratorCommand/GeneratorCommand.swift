import ArgumentParser
import CSluice
import Generator
import Support

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
            var command = try parseAsRoot(Arguments.given)
            try command.run()
        } catch let failure as Failure {
            say(failure.description)
            exit(withError: ExitCode(failure.code.rawValue))
        } catch {
            guard exitCode(for: error) == .validationFailure, !(error is ExitCode) else {
                exit(withError: error)
            }
            say("\(message(for: error)) (see sluice-gen --help)")
            exit(withError: ExitCode.validationFailure)
        }
    }
}

/// One line on standard error, with the program's name.
func say(_ line: String) { StandardError.write("sluice-gen: \(line)") }
