import ArgumentParser
import Generator
import Support

/// `sluice-gen search`: the highest rate without loss, and with little.
struct SearchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "search",
        abstract: "Finds the highest rate without loss, for each size (RFC 2544).",
        discussion: """
            For each size of --size, which are tried one by one here, the highest rate at which \
            nothing is lost (NDR) and at which at most 0.5 % is (PDR). Any violation ends the \
            search with exit code 1. Where the generator is the limit, the table says so.
            """)

    @OptionGroup var traffic: TrafficOptions
    @OptionGroup var limits: SearchOptions
    @Option(help: "Looks for the rate with this loss instead of NDR and PDR: 0, 0.1%.")
    var loss: String?
    @Option(help: ReportFile.help("result"))
    var json: String?

    mutating func run() throws {
        let sizes = try Self.sizes(traffic)
        var first = traffic
        if traffic.size != nil { first.size = sizes[0].0 }
        var plan = try first.plan()
        plan.config["size"] = traffic.size
        guard traffic.maxLoss == nil else {
            throw Failure(.usage, "--max-loss does not go with search: --loss is its bound")
        }
        var search = try limits.search()
        if let loss { search.goals = [try SearchOptions.goal(loss)] }
        plan.config.merge(limits.config) { $1 }
        if let loss { plan.config["loss"] = loss }
        let output = try ReportFile(json)
        let stop = try StopSignal()
        var engine = try Engine(plan, stop: stop)
        var report = SearchReport(config: plan.config)
        for (name, size) in sizes where !stop.isSet {
            if let size { engine.plan.sizes = size }
            let outcome = try search.run(
                &engine, progress: { SearchTable.show($0, size: name) }, isStopped: { stop.isSet })
            report.sizes.append(SearchReport.Row(size: name, outcome))
            if !outcome.violations.isEmpty { break }
        }
        report.stopped = stop.isSet
        let table = SearchTable.text(report)
        if !table.isEmpty { output.tell(table) }
        try output.write(report)
        try Self.judge(report, engine)
    }

    /// The sizes, each with its name; nil = what a capture holds.
    private static func sizes(_ traffic: TrafficOptions) throws(Failure) -> [(String, SizeMix?)] {
        guard traffic.replay == nil else { return [("replay", nil)] }
        guard let text = traffic.size else { return [("128", .standard)] }
        var sizes: [(String, SizeMix?)] = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            guard let size = PlanText.sizes(String(part)) else {
                throw TrafficOptions.wrong("size", text, "sizes like 64,512,imix")
            }
            sizes.append((String(part), size))
        }
        return sizes
    }

    private static func judge(_ report: SearchReport, _ engine: Engine) throws {
        if let row = report.sizes.last, !row.violations.isEmpty {
            let found = row.violations.sorted { $0.key < $1.key }
                .map { "\($0.key) \($0.value)" }.joined(separator: ", ")
            say("what came back was wrong (\(found)): search ended, `sluice-gen run` shows more")
            throw ExitCode(1)
        }
        let nothing = report.sizes.filter { $0.rates.allSatisfy { $0.rate.ratePps == 0 } }
        guard !report.stopped, let row = nothing.first else { return }
        let failed = row.rates.compactMap(\.rate.failedReport)
        if failed.contains(where: \.losesOnlyPings) {
            say("packets of size \(row.size): \(Verdict.onlyPings)")
        } else if failed.contains(where: \.isUnanswered) {
            say("packets of size \(row.size): \(engine.whyUnanswered)")
        } else {
            say("packets of size \(row.size) are lost at every rate: `sluice-gen run` shows more")
        }
        throw ExitCode(1)
    }
}

/// How a search goes about it, shared by `search` and `compare`.
struct SearchOptions: ParsableArguments {
    @Option(help: "Time of one trial (default 3s, and 4s for the first, at the highest rate).")
    var trial: String?
    @Option(help: "How exact the rate shall be (default 1%).")
    var precision: String?
    @Option(
        help: """
            Trials of a rate before it counts as failed (default 3, and up to 9 when the generator \
            itself was held up); one with more than 30 % loss is enough.
            """)
    var attempts: String?
    @Option(help: "The highest rate to offer: 200kpps (default: all that the generator can).")
    var maxRate: String?

    func search() throws(Failure) -> RateSearch {
        var search = RateSearch()
        if let seconds = try seconds() {
            search.trial = seconds
            search.firstTrial = seconds
        }
        if let precision {
            guard let share = PlanText.share(precision), (0.0005...0.5).contains(share) else {
                throw TrafficOptions.wrong("precision", precision, "a share, 0.05% to 50%")
            }
            search.precision = share
        }
        if let attempts {
            guard let count = Int(attempts), (1...20).contains(count) else {
                throw TrafficOptions.wrong("attempts", attempts, "a number, 1 to 20")
            }
            search.attempts = count
            search.repetitions = 1
        }
        if let maxRate {
            guard case .packetsPerSecond(let rate)? = PlanText.rate(maxRate) else {
                throw TrafficOptions.wrong("max-rate", maxRate, "packets a second, like 200kpps")
            }
            search.maximum = rate
        }
        return search
    }

    /// The time of a trial, if it was given.
    func seconds() throws(Failure) -> Double? {
        guard let trial else { return nil }
        guard let seconds = PlanText.duration(trial), (0.1...3600).contains(seconds) else {
            throw TrafficOptions.wrong("trial", trial, "a time like 3s, 100ms to 1h")
        }
        return seconds
    }

    static func goal(_ loss: String) throws(Failure) -> RateSearch.Goal {
        guard let share = PlanText.share(loss), share < 1 else {
            throw TrafficOptions.wrong("loss", loss, "a share, 0 to 1 or a percentage like 0.5%")
        }
        return RateSearch.Goal(name: "loss ≤ \(Figure.percent(share))", loss: share)
    }

    /// For the report: what was given.
    var config: [String: String] {
        let given = [
            ("trial", trial), ("precision", precision), ("attempts", attempts),
            ("max-rate", maxRate),
        ]
        return Dictionary(
            uniqueKeysWithValues: given.compactMap { name, text in text.map { (name, $0) } })
    }
}

/// A search for people.
enum SearchTable {
    /// A line on standard error for a trial.
    static func show(_ trial: RateSearch.Trial, size: String) {
        var line = "\(size)  \(trial.goal.name)  \(Figure.rate(trial.offered)) for "
        line += "\(Figure.seconds(trial.duration)): loss \(Figure.percent(trial.loss)), "
        line += trial.holds ? "holds" : "fails"
        if trial.attempt > 1 { line += ", attempt \(trial.attempt)" }
        if trial.generatorLimited { line += " (generator limited)" }
        ProgressLine().put(line + "\n")
    }

    static func text(_ report: SearchReport) -> String {
        var rows = [["size", "goal", "rate", "", "loss", "p50", "p99", "max"]]
        var notes: [String] = []
        for row in report.sizes {
            for (goal, rate) in row.rates {
                rows.append(cells(row.size, goal, rate))
                if rate.generatorLimited {
                    notes.append("\(row.size) \(goal): the generator was the limit, not the target")
                }
                if rate.atMaxRate {
                    notes.append("\(row.size) \(goal): all that --max-rate allows came back")
                }
                if rate.rough { notes.append("\(row.size) \(goal): stopped before it was exact") }
            }
            if row.burst > 0 {
                notes.append(
                    "\(row.size): the target carries about \(Int(row.burst)) packets at once beyond "
                        + "its rate, they are not counted")
            }
        }
        guard rows.count > 1 else { return "" }
        let lines = Columns.text(rows, left: 2) + notes
        return lines.joined(separator: "\n")
    }

    private static func cells(
        _ size: String, _ goal: String, _ rate: SearchReport.Rate
    ) -> [String] {
        var cells = [
            size, goal, (rate.isLeast ? "≥ " : "") + Figure.rate(rate.ratePps),
            Figure.bits(rate.rateBps),
            Figure.percent(rate.loss),
        ]
        if let latency = rate.latencyNs, latency.samples > 0 {
            cells += [latency.p50, latency.p99, latency.max].map(Figure.time)
        } else {
            cells += ["", "", ""]
        }
        return cells
    }
}

/// Text in columns.
enum Columns {
    /// - Parameter left: the number of columns that stand left; the others stand right.
    static func text(_ rows: [[String]], left: Int) -> [String] {
        let widths = (rows.first ?? []).indices.map { i in rows.map { $0[i].count }.max() ?? 0 }
        return rows.map { row in
            let line = zip(row, widths).enumerated().map { i, cell in
                let space = String(repeating: " ", count: cell.1 - cell.0.count)
                return i < left ? cell.0 + space : space + cell.0
            }.joined(separator: "  ")
            return String(line.reversed().drop { $0 == " " }.reversed())
        }
    }
}
