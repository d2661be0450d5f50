import Histogram
import Support
import Verification

/// Makes the report of a run out of what its threads count.
struct Ledger {
    private(set) var report = RunReport()
    private let plan: TrafficPlan
    private let start: UInt64
    private var last = Tally()
    private var latencies = Verifier.emptyHistogram()
    /// Latencies of the interval that runs.
    private var pending = Verifier.emptyHistogram()

    init(_ plan: TrafficPlan, start: UInt64) {
        self.plan = plan
        self.start = start
        report.config = plan.config
        report.about = About()
    }

    /// Notes latencies handed over between two intervals.
    mutating func note(_ state: Mailbox.State) {
        pending.add(state.latencies)
    }

    /// Ends an interval.
    mutating func close(_ tally: Tally, at now: UInt64) {
        var interval = RunReport.Interval()
        interval.second = Double(now - start) / 1e9
        let total = tally.total
        let before = last.total
        interval.sent = total.sent - before.sent
        interval.received = total.received - before.received
        interval.expectedDrops = total.expectedDrops - before.expectedDrops
        interval.lost = total.lost > before.lost ? total.lost - before.lost : 0
        interval.violations = tally.violationTotal - last.violationTotal
        if pending.totalCount > 0 {
            interval.p50Ns = pending.valueAtPercentile(50)
            interval.p99Ns = pending.valueAtPercentile(99)
        }
        report.intervals.append(interval)
        last = tally
        latencies.add(pending)
        pending.reset()
        fill(tally)
    }

    /// The report once all is over.
    mutating func finish(_ tally: Tally, wasStopped: Bool) -> RunReport {
        close(tally, at: max(tally.lastSent, start + 1))
        judgeGenerator(tally, wasStopped: wasStopped)
        return report
    }

    private mutating func fill(_ tally: Tally) {
        let total = tally.total
        report.sent = total.sent
        report.received = total.received
        report.expectedDrops = total.expectedDrops
        report.lost = total.lost
        let wanted = total.sent - total.expectedDrops
        report.loss = wanted > 0 ? Double(total.lost) / Double(wanted) : 0
        for kind in Violation.allCases { report.violations[kind.rawValue] = tally[kind] }
        report.durationS = Self.duration(tally)
        if report.durationS > 0 {
            report.ratePps = Double(total.sent) / report.durationS
            report.rateBps = Double(tally.bytes) * 8 / report.durationS
        }
        for trafficClass in TrafficClass.allCases {
            let counts = tally.classes[Int(trafficClass.rawValue)]
            guard counts.sent > 0 else { continue }
            var entry = RunReport.ClassCount()
            entry.sent = counts.sent
            entry.received = counts.received
            entry.expectedDrops = counts.expectedDrops
            entry.lost = counts.lost
            report.classes[trafficClass.name] = entry
        }
        report.receiveOverflow = tally.overflow
        report.sendRefused = tally.refused
        report.behindNs = tally.behind
        fillLatency()
    }

    /// Seconds from the first packet to the last, and the last one's own share of time.
    private static func duration(_ tally: Tally) -> Double {
        let sent = tally.total.sent
        guard tally.lastSent > tally.firstSent, sent > 1 else { return 0 }
        let span = Double(tally.lastSent - tally.firstSent) / 1e9
        return span * Double(sent) / Double(sent - 1)
    }

    private mutating func fillLatency() {
        var latency = RunReport.Latency()
        latency.samples = latencies.totalCount
        guard latency.samples > 0 else { return }
        latency.p50 = latencies.valueAtPercentile(50)
        latency.p90 = latencies.valueAtPercentile(90)
        latency.p99 = latencies.valueAtPercentile(99)
        latency.p999 = latencies.valueAtPercentile(99.9)
        latency.max = latencies.max
        for step in latencies.percentiles(ticksPerHalfDistance: 5) {
            latency.distribution.append([step.percentile / 100, Double(step.value)])
        }
        report.latencyNs = latency
    }

    /// Was it the generator that set the limit, and how?
    private mutating func judgeGenerator(_ tally: Tally, wasStopped: Bool) {
        let sent = max(tally.total.sent, 1)
        var reasons: [String] = []
        if plan.load.isFlatOut {
            // Whatever was sent came back: the appliance may well be able to do more.
            if report.lost == 0 { reasons.append("flat out, and nothing got lost") }
        } else {
            let behindAtEnd = tally.lastSent > tally.lastDue ? tally.lastSent - tally.lastDue : 0
            let planned = Double(tally.lastDue > start ? tally.lastDue - start : 0)
            if !wasStopped, Double(behindAtEnd) > max(planned / 100, 1e7) {
                reasons.append("fell \(behindAtEnd / 1_000_000) ms behind its schedule by the end")
            }
            if Double(tally.slipped) > Double(sent) / 100 {
                let share = Int((Double(tally.slipped) / Double(sent) * 100).rounded())
                reasons.append("sent \(share) % of the packets more than 5 ms late")
            }
        }
        if tally.overflow > 0 {
            reasons.append("\(tally.overflow) returned packets found its receive ring full")
        }
        if tally.refused > 0 { reasons.append("the interface refused \(tally.refused) packets") }
        report.generatorLimited = !reasons.isEmpty
        report.limits = reasons
    }
}
