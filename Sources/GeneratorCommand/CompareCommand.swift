import ArgumentParser
import Generator
import Support

/// `sluice-gen compare`: two targets, turn by turn.
struct CompareCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "compare",
        abstract: "Loads two targets turn by turn, and gives the ratio with its spread.",
        discussion: """
            A B A B …, so that a machine that changes meanwhile changes for both. With --rate the \
            ratios of latency and loss at that rate, without it that of the highest rates with at \
            most --loss. Violations end it with exit code 1, loss does not.
            """)

    @Argument(help: "IPv4 address of the first appliance.")
    var a: String
    @Argument(help: "IPv4 address of the second.")
    var b: String
    @OptionGroup var traffic: TrafficOptions
    @OptionGroup var limits: SearchOptions
    @Option(help: "A fixed rate to compare at: 200kpps or 1gbps.")
    var rate: String?
    @Option(help: "Loss that the highest rate may have (default 0.5%).")
    var loss: String?
    @Option(help: "Turns of each (default 5).")
    var rounds: String?
    @Option(help: ReportFile.help("result"))
    var json: String?

    /// The JSON.
    private struct Result: Encodable {
        var a: String
        var b: String
        var rounds: [Comparison.Round]
        var ratios: [String: Comparison.Ratio]
        var config: [String: String]
        var about = About()
        var stopped: Bool
    }

    mutating func run() throws {
        guard traffic.target == nil, traffic.maxLoss == nil else {
            throw Failure(
                .usage, "--target and --max-loss do not go with compare: name two addresses")
        }
        let plans = try (plan(a), plan(b))
        guard plans.0.target != plans.1.target else {
            throw Failure(.usage, "both appliances are \(a): name two")
        }
        let count = try readRounds()
        let load = try readRate()
        var search = try limits.search()
        search.goals = [try loss.map(SearchOptions.goal) ?? .pdr]
        let output = try ReportFile(json)
        let stop = try StopSignal()
        var comparison = Comparison(isSearch: load == nil)
        for number in 1...count where !stop.isSet {
            var turns: [Comparison.Turn] = []
            for (name, plan) in [("A", plans.0), ("B", plans.1)] {
                guard let turn = try turn(plan, load, search, stop) else { break }
                Self.show("round \(number) \(name): " + Self.text(turn, isSearch: load == nil))
                turns.append(turn)
            }
            guard turns.count == 2 else { break }
            comparison.add(Comparison.Round(a: turns[0], b: turns[1]))
        }
        report(comparison, output)
        var config = plans.0.config
        config["target"] = nil
        try output.write(
            Result(
                a: a, b: b, rounds: comparison.rounds,
                ratios: Dictionary(uniqueKeysWithValues: comparison.ratios), config: config,
                stopped: stop.isSet))
    }

    private func plan(_ target: String) throws(Failure) -> TrafficPlan {
        var options = traffic
        options.target = target
        var plan = try options.plan()
        plan.config.merge(limits.config) { $1 }
        for (name, text) in [("rate", rate), ("loss", loss), ("rounds", rounds)] {
            if let text { plan.config[name] = text }
        }
        return plan
    }

    private func readRounds() throws(Failure) -> Int {
        guard let rounds else { return 5 }
        guard let count = Int(rounds), (1...1000).contains(count) else {
            throw TrafficOptions.wrong("rounds", rounds, "a number, 1 to 1000")
        }
        return count
    }

    private func readRate() throws(Failure) -> OfferedRate? {
        guard let rate else { return nil }
        guard loss == nil else {
            throw Failure(.usage, "--loss does not go with --rate, which looks for no rate")
        }
        guard let value = PlanText.rate(rate), value != .flatOut else {
            throw TrafficOptions.wrong("rate", rate, "a rate like 200kpps or 1gbps")
        }
        return value
    }

    /// One target's turn; nil when it was stopped. The engine lives for the turn: it holds the
    /// port that the other one needs.
    private func turn(
        _ plan: TrafficPlan, _ load: OfferedRate?, _ search: RateSearch, _ stop: StopSignal
    ) throws -> Comparison.Turn? {
        var engine = try Engine(plan, stop: stop)
        var violations: [String: UInt64]
        let turn: Comparison.Turn?
        if let load {
            let report = try engine.run(rate: load, seconds: search.trial)
            violations = RateSearch.faults(report)
            turn = Comparison.Turn(report)
        } else {
            let outcome = try search.run(&engine, isStopped: { stop.isSet })
            violations = outcome.violations
            turn = outcome.found.first.map(Comparison.Turn.init)
        }
        guard violations.isEmpty else {
            let found = violations.sorted { $0.key < $1.key }
                .map { "\($0.key) \($0.value)" }.joined(separator: ", ")
            say("what came back from \(plan.config["target"] ?? "") was wrong: \(found)")
            throw ExitCode(1)
        }
        return stop.isSet ? nil : turn
    }

    // ---- For people.

    private static func text(_ turn: Comparison.Turn, isSearch: Bool) -> String {
        var text = Figure.rate(turn.ratePps) + ", loss " + Figure.percent(turn.loss)
        if !isSearch {
            text += ", latency p50 \(Figure.time(turn.latencyP50))"
            text += ", p99 \(Figure.time(turn.latencyP99))"
        }
        return turn.generatorLimited ? text + " (generator limited)" : text
    }

    private static func show(_ line: String) { ProgressLine().put(line + "\n") }

    private func report(_ comparison: Comparison, _ output: ReportFile) {
        let names = [
            "rate": "highest rate", "latency_p50": "latency p50", "latency_p99": "latency p99",
            "loss": "loss",
        ]
        guard !comparison.rounds.isEmpty else { return }
        var rows = [["A / B", "median", "min", "max"]]
        for (name, ratio) in comparison.ratios {
            rows.append(
                [names[name] ?? name]
                    + [ratio.median, ratio.min, ratio.max].map { Figure.digits($0, 3) })
        }
        output.tell("A \(a), B \(b), \(comparison.rounds.count) rounds")
        for line in Columns.text(rows, left: 1) { output.tell(line) }
        if comparison.rounds.contains(where: { $0.a.generatorLimited || $0.b.generatorLimited }) {
            output.tell(
                comparison.isSearch
                    ? "the generator was the limit in some rounds: the ratio may be further from 1"
                    : "the generator was held up in some rounds: latencies have its share in them")
        }
    }
}
