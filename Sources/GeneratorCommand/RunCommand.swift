import ArgumentParser
import CSluice
import Generator
import Support

/// `sluice-gen run`: one load, then the report.
struct RunCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "run", abstract: "Offers one load, verifies what comes back, reports.")

    @OptionGroup var traffic: TrafficOptions
    @Option(help: "200kpps, 1gbps (outer IP bits) or max (default 10kpps).")
    var rate: String?
    @Option(help: "From one rate to another over the duration: 10kpps..200kpps.")
    var ramp: String?
    @Option(help: "One rate after another in equal parts of the duration: 10kpps,20kpps.")
    var steps: String?
    @Option(help: "How long to send: 10s, 5m (default 10s, unless --count is given).")
    var duration: String?
    @Option(help: "How many packets to send.")
    var count: String?
    @Option(help: ReportFile.help("report"))
    var json: String?

    mutating func run() throws {
        var plan = try traffic.plan()
        try readLoad(&plan)
        let output = try ReportFile(json)
        let stop = try StopSignal()
        var engine = try Engine(plan, stop: stop)
        let progress = ProgressLine()
        let report = try engine.run { progress.show($0) }
        progress.end()
        output.tell(ReportTable.text(report, plan: plan))
        try output.write(report)
        try Verdict.judge(report, plan, engine)
    }

    private func readLoad(_ plan: inout TrafficPlan) throws(Failure) {
        let given = [rate, ramp, steps].compactMap { $0 }
        guard given.count <= 1 else {
            throw Failure(.usage, "--rate, --ramp and --steps say the same: give one of them")
        }
        if let rate {
            guard let value = PlanText.rate(rate) else {
                throw TrafficOptions.wrong("rate", rate, "a rate like 200kpps, 1gbps or max")
            }
            plan.load = .constant(value)
        }
        if let ramp {
            guard let profile = PlanText.ramp(ramp) else {
                throw TrafficOptions.wrong("ramp", ramp, "two rates like 10kpps..200kpps")
            }
            plan.load = profile
        }
        if let steps {
            guard let profile = PlanText.steps(steps) else {
                throw TrafficOptions.wrong("steps", steps, "rates like 10kpps,20kpps,50kpps")
            }
            plan.load = profile
        }
        if let duration {
            guard let seconds = PlanText.duration(duration) else {
                throw TrafficOptions.wrong("duration", duration, "a time like 10s, 500ms or 5m")
            }
            plan.duration = seconds
        }
        if let count {
            guard let packets = PlanText.count(count), packets > 0 else {
                throw TrafficOptions.wrong("count", count, "a number of packets")
            }
            plan.count = packets
            if duration == nil {
                guard case .constant = plan.load else {
                    throw Failure(.usage, "--count with --ramp or --steps needs --duration")
                }
                plan.duration = TrafficPlan.unbounded
            }
        }
        for (name, text) in [
            ("rate", rate), ("ramp", ramp), ("steps", steps), ("duration", duration),
            ("count", count),
        ] {
            if let text { plan.config[name] = text }
        }
    }
}
