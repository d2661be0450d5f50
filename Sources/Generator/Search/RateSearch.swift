import Verification

/// Finds the highest rate at which a target loses no more than a bound, by trials (RFC 2544
/// §26.1): NDR without any loss, PDR with a little (RFC 9411's terms, FD.io's 0.5 %).
///
/// The rate is bracketed between one that held and one that failed, and the bracket halved until
/// it is as narrow as `precision`. A noisy machine loses a packet now and then at any rate, so a
/// trial that fails is repeated: a rate fails only when every attempt does, and attempts in which
/// the generator itself was held up count for less.
///
/// A target that has saved up for bursts (a token bucket, deep queues) carries more than its rate
/// for a while, and a short trial would take that for its rate. How much it saves is seen in
/// overload, where what comes back falls from the burst to the rate. A trial then stands for what
/// it offered less that burst, spread over its time.
public struct RateSearch: Sendable {
    /// What is looked for: a name for tables, and the loss that is allowed.
    public struct Goal: Equatable, Sendable {
        public var name: String
        /// Share of the packets that should come back, 0 to 1.
        public var loss: Double

        public init(name: String, loss: Double) {
            self.name = name
            self.loss = loss
        }

        /// No packet lost.
        public static let ndr = Goal(name: "NDR", loss: 0)
        /// One in 200 lost.
        public static let pdr = Goal(name: "PDR", loss: 0.005)
    }

    /// In ascending order of loss, each builds on the trials of those before.
    public var goals: [Goal] = [.ndr, .pdr]
    /// Seconds.
    public var trial = 3.0
    /// Width of the last bracket, as a share of the rate.
    public var precision = 0.01
    /// Trials before a rate counts as failed.
    public var attempts = 3
    /// Nothing above this is offered, packets a second; nil = as fast as the generator can.
    public var maximum: Double?

    /// A trial that fails while the generator was held up is repeated: for each
    /// attempt there are at most this many trials.
    public var repetitions = 3
    /// Time of the first trial, in overload, seconds; nil = long enough to show a burst and the
    /// rate after it.
    public var firstTrial: Double?
    /// A pause that a target's queue cannot be asked to make up for, nanoseconds.
    private static let pause: UInt64 = 10_000_000

    /// The generator fell behind and caught up in a burst: what was lost may be its fault.
    private static func isUneven(_ report: RunReport) -> Bool {
        report.generatorLimited || report.behindNs > pause
    }

    /// Loss that no repetition mends.
    private static let hopeless = 0.3
    /// Loss at which a target is in overload for sure.
    private static let deep = 0.1
    /// A search that has not come to an end by then never will.
    private static let mostSteps = 60
    /// Nothing below this share of what is carried in overload is looked at.
    private static let least = 0.01
    /// Seconds of overload that show a burst and the rate after it.
    private static let overload = 4.0

    public init() {}

    /// What was found for one goal.
    public struct Found: Sendable {
        public var goal: Goal
        /// Packets a second; 0 when every rate failed.
        public var rate = 0.0
        /// The lowest rate that failed; nil when none did.
        public var failedAt: Double?
        /// Of the best trial that held.
        public var report: RunReport?
        /// Not the target but the generator ended the search: the target's rate is this or more.
        public var generatorLimited = false
        /// All of `maximum` came through: the target's rate is this or more.
        public var isAtMaximum = false
        /// Of the lowest rate that failed.
        public var failedReport: RunReport?
        /// The bracket is wider than `precision`: the search was stopped.
        public var isRough = false
    }

    /// One trial as it ended, for progress.
    public struct Trial: Sendable {
        public var goal: Goal
        /// Packets a second, as offered in truth.
        public var offered: Double
        /// Seconds.
        public var duration: Double
        public var loss: Double
        public var holds: Bool
        /// From 1.
        public var attempt: Int
        public var generatorLimited: Bool
    }

    /// What the trials of a target gave.
    public struct Outcome: Sendable {
        /// By goal, in their order; shorter when the search was ended early.
        public var found: [Found] = []
        public var trials = 0
        /// What the target carries at once beyond its rate, packets.
        public var burst = 0.0
        /// Of the trial that ended the search: what comes back must be right at any rate.
        public var violations: [String: UInt64] = [:]
        public var wasStopped = false
    }

    /// Searches. Violations end it at once.
    /// - Parameters:
    ///   - progress: called after every trial.
    ///   - isStopped: asked before every trial.
    public func run<Runner: LoadRunner>(
        _ runner: inout Runner, progress: (Trial) -> Void = { _ in },
        isStopped: () -> Bool = { false }
    ) throws -> Outcome {
        var session = Session(search: self)
        for goal in goals.sorted(by: { $0.loss < $1.loss }) {
            let found = try session.find(goal, &runner, progress, isStopped)
            if !session.outcome.violations.isEmpty { break }
            session.outcome.found.append(found)
            if session.outcome.wasStopped { break }
        }
        return session.outcome
    }

    /// What is wrong at any rate. Late is not: overload makes long queues, and a packet that comes
    /// too late is as good as lost.
    public static func faults(_ report: RunReport) -> [String: UInt64] {
        report.violations.filter { $0.value > 0 && $0.key != Violation.late.rawValue }
    }

    /// The share of packets that did not come back in time.
    public static func loss(_ report: RunReport) -> Double {
        let late = report.violations[Violation.late.rawValue] ?? 0
        let wanted = report.sent - min(report.sent, report.expectedDrops)
        guard late > 0, wanted > 0 else { return report.loss }
        return min(1, report.loss + Double(late) / Double(wanted))
    }

    /// A rate that was decided, and how.
    private struct Decision {
        /// Packets a second, as offered.
        var offered: Double
        /// The least loss of its attempts.
        var loss: Double
        /// Of that attempt.
        var report: RunReport
        var seconds: Double
        /// Packets a second that came through at last.
        var carried: Double
        /// The generator offered less than it was asked for.
        var isShort: Bool

        func isBetter(than other: Decision) -> Bool {
            loss != other.loss ? loss < other.loss : offered > other.offered
        }
    }

    private struct Session {
        let search: RateSearch
        var outcome = Outcome()
        var decisions: [Decision] = []
        /// Packets, by trial in overload.
        var bursts: [Double] = []

        mutating func find<Runner: LoadRunner>(
            _ goal: Goal, _ runner: inout Runner, _ progress: (Trial) -> Void,
            _ isStopped: () -> Bool
        ) throws -> Found {
            if decisions.isEmpty { try overload(goal, &runner, progress, isStopped) }
            for step in 0..<RateSearch.mostSteps where mayGoOn(isStopped) {
                guard let (low, high) = openBracket(goal), !generatorEnds(goal), !isDead else {
                    break
                }
                // Whether a target without any answer is there at all shows in little traffic.
                let next =
                    decisions.count == 1 && decisions[0].report.isUnanswered
                    ? max(100, high * RateSearch.least)
                    : nextRate(goal, low, high, step) + outcome.burst / search.trial
                try decide(
                    .packetsPerSecond(next), search.trial, goal, &runner, progress, isStopped)
            }
            return found(goal)
        }

        /// All that may be offered: the high end of the bracket, and what the target saves up. A
        /// burst must be seen twice, so that an uneven machine is not taken for one.
        private mutating func overload<Runner: LoadRunner>(
            _ goal: Goal, _ runner: inout Runner, _ progress: (Trial) -> Void,
            _ isStopped: () -> Bool
        ) throws {
            let rate = search.maximum.map { OfferedRate.packetsPerSecond($0) } ?? .flatOut
            let seconds = search.firstTrial ?? max(search.trial, RateSearch.overload)
            try decide(rate, seconds, goal, &runner, progress, isStopped)
            guard let burst = bursts.last, burst > 0 else { return }
            try decide(rate, seconds, goal, &runner, progress, isStopped)
            if bursts.count > 1 { outcome.burst = bursts.min()! }
        }

        /// Nothing came back, however little was sent.
        private var isDead: Bool {
            decisions.count > 1 && decisions.allSatisfy(\.report.isUnanswered)
        }

        private mutating func mayGoOn(_ isStopped: () -> Bool) -> Bool {
            if isStopped() { outcome.wasStopped = true }
            return !outcome.wasStopped && outcome.violations.isEmpty
        }

        // ---- The bracket.

        private func holds(_ decision: Decision, _ goal: Goal) -> Bool {
            decision.loss <= goal.loss
        }

        /// The lasting rate that a trial stands for.
        private func rate(_ decision: Decision) -> Double {
            max(0, decision.offered - outcome.burst / decision.seconds)
        }

        private func lowestFailed(_ goal: Goal) -> Decision? {
            decisions.filter { !holds($0, goal) }.min { rate($0) < rate($1) }
        }

        private func highestHeld(_ goal: Goal) -> Decision? {
            let failed = lowestFailed(goal).map(rate) ?? .infinity
            return decisions.filter { holds($0, goal) && rate($0) < failed }
                .max { rate($0) < rate($1) }
        }

        /// The bracket, unless it is narrow enough or has no end to look for.
        private func openBracket(_ goal: Goal) -> (low: Double, high: Double)? {
            guard let high = lowestFailed(goal).map(rate) else { return nil }
            let low = highestHeld(goal).map(rate) ?? 0
            let least = decisions.first.map {
                max(RateSearch.least * $0.carried, 1e-4 * $0.offered)
            }
            guard high - low > search.precision * high, high > max(least ?? 0, 1) else {
                return nil
            }
            return (low, high)
        }

        /// The generator could not offer the last rate, and all that it did offer came back.
        private func generatorEnds(_ goal: Goal) -> Bool {
            decisions.last.map { $0.isShort && holds($0, goal) } ?? false
        }

        /// The next lasting rate to try. What came through in the lowest failed trial is a good
        /// guess of what the target carries: every other step looks just below and just above it.
        private func nextRate(_ goal: Goal, _ low: Double, _ high: Double, _ step: Int) -> Double {
            let middle = (low + high) / 2
            guard step % 2 == 0, let failed = lowestFailed(goal) else { return middle }
            let guess = failed.carried / (1 - goal.loss)
            let margin = search.precision * 0.4
            let around = [guess * (1 - margin), guess * (1 + margin)]
            return around.first { $0 > low * (1 + margin / 2) && $0 < high * (1 - margin / 2) }
                ?? middle
        }

        // ---- Trials.

        /// Tries a rate until it holds, or every attempt has failed.
        private mutating func decide<Runner: LoadRunner>(
            _ rate: OfferedRate, _ seconds: Double, _ goal: Goal, _ runner: inout Runner,
            _ progress: (Trial) -> Void, _ isStopped: () -> Bool
        ) throws {
            var best: Decision?
            var failures = 0
            for attempt in 1...max(1, search.repetitions) * max(1, search.attempts)
            where mayGoOn(isStopped) && failures < max(1, search.attempts) {
                let report = try runner.run(rate: rate, seconds: seconds)
                // A trial that was cut short by a signal says nothing.
                guard mayGoOn(isStopped) else { break }
                outcome.trials += 1
                let decision = decision(report, rate)
                let holds = self.holds(decision, goal)
                progress(
                    Trial(
                        goal: goal, offered: report.ratePps, duration: report.durationS,
                        loss: decision.loss, holds: holds, attempt: attempt,
                        generatorLimited: report.generatorLimited))
                outcome.violations = RateSearch.faults(report)
                guard outcome.violations.isEmpty else { return }
                if best.map({ decision.isBetter(than: $0) }) ?? true { best = decision }
                if holds && !decision.isShort || decision.loss > RateSearch.hopeless { break }
                let isFair = rate == .flatOut || holds || !RateSearch.isUneven(report)
                if isFair { failures += 1 }
            }
            if let best { decisions.append(best) }
        }

        private mutating func decision(_ report: RunReport, _ rate: OfferedRate) -> Decision {
            let overload = Overload(report)
            if let overload, overload.isSteady, report.loss > RateSearch.deep {
                // A burst that is lost in the precision is none.
                let matters = search.trial * overload.carried * search.precision / 4
                bursts.append(overload.burst > matters ? overload.burst : 0)
            }
            var isShort = false
            if case .packetsPerSecond(let wanted) = rate {
                isShort =
                    report.generatorLimited && report.ratePps < wanted * (1 - search.precision)
            }
            return Decision(
                offered: report.ratePps, loss: RateSearch.loss(report), report: report,
                seconds: max(report.durationS, 0.001),
                carried: overload?.carried ?? report.ratePps * (1 - report.loss),
                isShort: isShort)
        }

        private func found(_ goal: Goal) -> Found {
            var found = Found(goal: goal)
            let failed = lowestFailed(goal)
            let held = highestHeld(goal)
            found.failedAt = failed.map(rate)
            found.failedReport = failed?.report
            found.isAtMaximum = failed == nil && held != nil && search.maximum != nil
            if let held {
                found.rate = rate(held)
                found.report = held.report
            }
            // Nothing failed, up to all that the generator can; or it could not go on.
            if let held {
                found.generatorLimited =
                    generatorEnds(goal) || held.isShort
                    || failed == nil && (search.maximum == nil || held.report.generatorLimited)
            }
            // What the generator had no room to take in, or lost by a burst, is not the target's.
            if let report = failed?.report, report.ratePps < (decisions.first?.offered ?? 0),
                RateSearch.isUneven(report) || report.receiveOverflow >= report.lost
            {
                found.generatorLimited = true
            }
            found.isRough = openBracket(goal) != nil && !found.generatorLimited
            return found
        }
    }

    /// What a failed trial shows of the target, from its seconds.
    private struct Overload {
        /// Packets a second that came through once the start was over.
        let carried: Double
        /// Packets that came through beyond that.
        let burst: Double
        /// The later seconds are alike, so that the two are to be relied on.
        let isSteady: Bool

        /// Nil without loss, or with too few seconds to see it.
        init?(_ report: RunReport) {
            // The last entry may be a piece of a second.
            let whole = report.intervals.enumerated().filter { i, interval in
                interval.second - (i > 0 ? report.intervals[i - 1].second : 0) > 0.9
            }.map(\.element)
            guard report.loss > 0, report.received > 0, whole.count >= 3 else { return nil }
            // Those dropped on purpose are carried too.
            let share = Double(report.sent - report.lost) / Double(report.received)
            let rates = whole.enumerated().map { i, interval in
                let before = i > 0 ? whole[i - 1].second : 0
                return share * Double(interval.received) / (interval.second - before)
            }
            let later = rates.dropFirst((rates.count + 2) / 3)
            let mean = later.reduce(0, +) / Double(later.count)
            carried = mean
            burst = max(0, rates.prefix(rates.count - later.count).reduce(0) { $0 + $1 - mean })
            let spread = (later.max() ?? 0) - (later.min() ?? 0)
            isSteady = mean > 0 && spread < 0.03 * mean
        }
    }
}
