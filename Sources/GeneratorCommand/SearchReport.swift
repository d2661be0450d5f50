import Generator
import Support

/// The JSON of `search`: one row for each size, the highest rate for each goal.
struct SearchReport: Encodable {
    struct Row: Encodable {
        /// As it was given: "128", "imix".
        var size: String
        var ndr: Rate?
        var pdr: Rate?
        /// For a bound of its own (--loss).
        var rate: Rate?
        var trials = 0
        /// What the target carries at once beyond its rate, packets.
        var burst = 0.0
        /// What ended the search.
        var violations: [String: UInt64] = [:]
    }

    struct Rate: Encodable {
        /// 0 = packets were lost at every rate.
        var ratePps: Double
        /// Of outer IPv4 packets.
        var rateBps = 0.0
        /// Of the best trial, and the bound, shares.
        var loss = 0.0
        var lossBound: Double
        /// The lowest rate that failed.
        var failedAtPps: Double?
        /// The target may be able to do more.
        var generatorLimited: Bool
        /// All of --max-rate came through: the target may be able to do more.
        var atMaxRate: Bool
        /// The search was stopped before the rate was as precise as wanted.
        var rough: Bool
        var latencyNs: RunReport.Latency?
        /// Of the lowest rate that failed; not in the JSON.
        let failedReport: RunReport?

        /// The rate is a lower bound.
        var isLeast: Bool { ratePps > 0 && (generatorLimited || atMaxRate) }

        init(_ found: RateSearch.Found) {
            ratePps = found.rate
            lossBound = found.goal.loss
            failedAtPps = found.failedAt
            generatorLimited = found.generatorLimited
            atMaxRate = found.isAtMaximum
            failedReport = found.failedReport
            rough = found.isRough
            guard let report = found.report else { return }
            loss = RateSearch.loss(report)
            if report.ratePps > 0 { rateBps = report.rateBps * found.rate / report.ratePps }
            latencyNs = report.latencyNs
        }

        enum CodingKeys: String, CodingKey {
            case loss, rough
            case ratePps = "rate_pps"
            case rateBps = "rate_bps"
            case lossBound = "loss_bound"
            case failedAtPps = "failed_at_pps"
            case generatorLimited = "generator_limited"
            case atMaxRate = "at_max_rate"
            case latencyNs = "latency_ns"
        }
    }

    var sizes: [Row] = []
    var config: [String: String]
    var about = About()
    var stopped = false
}

extension SearchReport.Row {
    init(size: String, _ outcome: RateSearch.Outcome) {
        self.init(size: size)
        for found in outcome.found {
            let rate = SearchReport.Rate(found)
            switch found.goal {
            case .ndr: ndr = rate
            case .pdr: pdr = rate
            default: self.rate = rate
            }
        }
        trials = outcome.trials
        burst = outcome.burst
        violations = outcome.violations
    }

    /// With the names of the goals.
    var rates: [(goal: String, rate: SearchReport.Rate)] {
        [("NDR", ndr), ("PDR", pdr), ("loss", rate)].compactMap { goal, rate in
            rate.map { (goal == "loss" ? "loss ≤ \(Figure.percent($0.lossBound))" : goal, $0) }
        }
    }
}
