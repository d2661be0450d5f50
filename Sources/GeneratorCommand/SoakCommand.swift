import ArgumentParser
import Generator
import Glibc
import Support

/// `sluice-gen soak`: one load for hours.
struct SoakCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "soak",
        abstract: "Offers one load for hours, a line of figures for each interval.",
        discussion: """
            Runs until --duration is over, or SIGINT or SIGTERM ends it at once; then the report \
            of the whole time.
            """)

    @OptionGroup var traffic: TrafficOptions
    @Option(help: "200kpps or 1gbps (outer IP bits) (default 10kpps).")
    var rate: String?
    @Option(help: "How long: 8h, 30m (default 24h).")
    var duration: String?
    @Option(help: "Time of a line (default 10s).")
    var interval: String?
    @Option(help: ReportFile.help("report"))
    var json: String?

    mutating func run() throws {
        var plan = try traffic.plan()
        let interval = try readLoad(&plan)
        let output = try ReportFile(json)
        let stop = try StopSignal()
        var engine = try Engine(plan, stop: stop)
        var samples = Samples(interval: interval, output)
        output.tell(Samples.heading)
        var report = try engine.run { samples.add($0) }
        samples.finish(report)
        output.tell("\n" + ReportTable.text(report, plan: plan))
        report.intervals = samples.all
        try output.write(report)
        try Verdict.judge(report, plan, engine)
    }

    /// The length of an interval.
    private func readLoad(_ plan: inout TrafficPlan) throws(Failure) -> Double {
        if let rate {
            guard let value = PlanText.rate(rate), value != .flatOut else {
                throw TrafficOptions.wrong("rate", rate, "a rate like 200kpps or 1gbps")
            }
            plan.load = .constant(value)
        }
        plan.duration = 24 * 3600
        if let duration {
            guard let seconds = PlanText.duration(duration) else {
                throw TrafficOptions.wrong("duration", duration, "a time like 8h or 30m")
            }
            plan.duration = seconds
        }
        var length = 10.0
        if let interval {
            guard let seconds = PlanText.duration(interval), (1...3600).contains(seconds) else {
                throw TrafficOptions.wrong("interval", interval, "a time, 1s to 1h")
            }
            length = seconds
        }
        for (name, text) in [("rate", rate), ("duration", duration), ("interval", interval)] {
            if let text { plan.config[name] = text }
        }
        return length
    }
}

/// The seconds of a run, put together to longer intervals and printed one by one.
struct Samples {
    let interval: Double
    private let output: ReportFile
    private(set) var all: [RunReport.Interval] = []
    private var current = RunReport.Interval()
    /// Entries of the report that have been seen.
    private var seen = 0
    /// End of the last sample, seconds.
    private var begin = 0.0

    static let heading = line(
        ["time", "sent", "received", "lost", "loss", "p50", "worst p99", "violations"])

    init(interval: Double, _ output: ReportFile) {
        self.interval = interval
        self.output = output
    }

    mutating func add(_ report: RunReport) {
        while seen < report.intervals.count {
            join(report.intervals[seen])
            seen += 1
            // Half a second less: the seconds are not exact.
            if current.second - begin >= interval - 0.5 { close() }
        }
    }

    /// What is left at the end.
    mutating func finish(_ report: RunReport) {
        add(report)
        if current.second > begin { close() }
    }

    /// Percentiles cannot be put together: the middle one is the last second's, the high one the
    /// worst of all seconds.
    private mutating func join(_ second: RunReport.Interval) {
        current.second = max(current.second, second.second)
        current.sent += second.sent
        current.received += second.received
        current.expectedDrops += second.expectedDrops
        current.lost += second.lost
        current.violations += second.violations
        if second.p50Ns > 0 { current.p50Ns = second.p50Ns }
        current.p99Ns = max(current.p99Ns, second.p99Ns)
    }

    private mutating func close() {
        let time = max(current.second - begin, 0.001)
        let loss = current.sent > 0 ? Double(current.lost) / Double(current.sent) : 0
        output.tell(
            Self.line([
                Self.clock(current.second), Figure.rate(Double(current.sent) / time),
                Figure.rate(Double(current.received) / time), "\(current.lost)",
                Figure.percent(loss), Figure.time(current.p50Ns), Figure.time(current.p99Ns),
                "\(current.violations)",
            ]))
        // Every line at once, into a file too.
        fflush(nil)
        all.append(current)
        begin = current.second
        let end = current.second
        current = RunReport.Interval()
        current.second = end
    }

    private static func line(_ cells: [String]) -> String {
        let widths = [9, 12, 12, 9, 9, 10, 10, 10]
        return zip(cells, widths).map { cell, width in
            String(repeating: " ", count: max(0, width - cell.count)) + cell
        }.joined(separator: " ")
    }

    /// "1:02:03"
    private static func clock(_ seconds: Double) -> String {
        let whole = Int(seconds.rounded())
        func two(_ n: Int) -> String { n < 10 ? "0\(n)" : "\(n)" }
        return "\(whole / 3600):\(two(whole / 60 % 60)):\(two(whole % 60))"
    }
}
