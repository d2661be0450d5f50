import ArgumentParser
import Generator

@main
struct GeneratorCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sluice-gen",
        abstract: "Plays a gateway load balancer at high rate and verifies every returned packet.")
}
