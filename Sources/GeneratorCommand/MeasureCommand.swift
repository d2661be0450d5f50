import ArgumentParser
import Generator

/// `sluice-gen measure`: what judging a packet costs, under callgrind (see Benchmarks). No traffic.
struct MeasureCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "measure", abstract: "Judges packets in memory, for callgrind.",
        shouldDisplay: false)

    @OptionGroup var traffic: TrafficOptions
    @Option(help: "How many packets.")
    var packets = 64_000

    mutating func run() throws {
        traffic.interface = traffic.interface ?? "none"
        traffic.target = traffic.target ?? "192.0.2.1"
        let failures = VerificationCost.run(try traffic.plan(), packets: packets)
        guard failures == 0 else { throw ExitCode(1) }
    }
}
