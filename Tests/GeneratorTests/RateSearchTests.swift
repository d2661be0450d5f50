import Generator
import SluiceTesting
import Testing

/// Searches against targets that are formulas.
@Suite struct RateSearchTests {
    /// A target that carries `rate` packets a second and `depth` more at once, behind a machine
    /// that has hiccups.
    struct Target: LoadRunner {
        var rate: Double
        var depth = 64.0
        /// All that the generator can.
        var generator = 400_000.0
        /// All that it can by a schedule.
        var paced = Double.infinity
        /// Share of trials that lose some packets without any cause.
        var hiccups = 0.0
        /// Share of trials in which it pauses, and loses packets by the burst that follows.
        var pauses = 0.0
        /// Share of every trial's packets that is lost at any rate.
        var leak = 0.0
        /// Above this rate packets come back changed.
        var spoilsAbove = Double.infinity
        /// Above this rate a tenth of them comes back late.
        var lateAbove = Double.infinity
        var dice = SeededGenerator(seed: 5)
        var trials = 0
        var seconds = 0.0

        mutating func run(rate wanted: OfferedRate, seconds: Double) -> RunReport {
            trials += 1
            self.seconds += seconds
            var report = RunReport()
            var offered = generator
            if case .packetsPerSecond(let rate) = wanted {
                offered = min(rate, generator, paced)
                report.generatorLimited = offered < rate
            } else {
                report.generatorLimited = rate >= generator
            }
            report.ratePps = offered
            report.durationS = seconds
            var tokens = depth
            let isPaused = Double.random(in: 0..<1, using: &dice) < pauses
            if isPaused { report.behindNs = 60_000_000 }
            var hiccup = isPaused ? offered * 0.04 : 0
            if Double.random(in: 0..<1, using: &dice) < hiccups { hiccup += 40 }
            var at = 0.0
            while at < seconds - 0.001 {
                let step = min(1, seconds - at)
                at += step
                let carried = min(offered * step, tokens + rate * step) * (1 - leak) - hiccup
                tokens = min(depth, max(0, tokens + (rate - offered) * step))
                hiccup = 0
                var interval = RunReport.Interval()
                interval.second = at
                interval.sent = UInt64(offered * step)
                interval.received = UInt64(carried)
                interval.lost = interval.sent - min(interval.sent, interval.received)
                report.intervals.append(interval)
                report.sent += interval.sent
                report.received += interval.received
                report.lost += interval.lost
            }
            report.loss = Double(report.lost) / Double(report.sent)
            if offered > lateAbove { report.violations = ["late": report.sent / 10] }
            if offered > spoilsAbove { report.violations = ["payload": 3] }
            return report
        }
    }

    static func isNear(_ rate: Double, _ wanted: Double, within share: Double) -> Bool {
        abs(rate - wanted) <= share * wanted
    }

    @Test(arguments: [20_000.0, 50_000, 3_000, 390_000])
    func `finds a bucket's rate`(rate: Double) throws {
        var target = Target(rate: rate)
        let outcome = try RateSearch().run(&target)
        #expect(outcome.found.map(\.goal) == [.ndr, .pdr])
        #expect(Self.isNear(outcome.found[0].rate, rate, within: 0.01))
        #expect(Self.isNear(outcome.found[1].rate, rate / 0.995, within: 0.01))
        #expect(outcome.found.allSatisfy { !$0.generatorLimited && !$0.isRough })
        #expect(outcome.found.allSatisfy { $0.rate < $0.failedAt! })
        #expect(outcome.found[0].report?.loss == 0)
        #expect(target.trials < 40 && outcome.trials == target.trials)
    }

    /// A bucket that holds a tenth, a half, a whole second's packets lets a short trial pass well
    /// above its rate: the search must see through that.
    @Test(arguments: [20_000.0, 50_000], [0.03, 0.1, 0.5, 1])
    func `is not fooled by what a bucket holds`(rate: Double, held: Double) throws {
        var target = Target(rate: rate, depth: rate * held)
        let outcome = try RateSearch().run(&target)
        #expect(Self.isNear(outcome.found[0].rate, rate, within: 0.03))
        #expect(outcome.found[0].rate <= rate * 1.001)
    }

    /// Three trials in ten lose packets without a cause.
    @Test(arguments: 1...20 as ClosedRange<UInt64>)
    func `one hiccup does not decide`(seed: UInt64) throws {
        var target = Target(rate: 20_000, hiccups: 0.3)
        target.dice = SeededGenerator(seed: seed)
        let outcome = try RateSearch().run(&target)
        #expect(Self.isNear(outcome.found[0].rate, 20_000, within: 0.03))
        #expect(Self.isNear(outcome.found[1].rate, 20_100, within: 0.03))
    }

    /// Every other trial the machine holds up the generator, which then sends a burst.
    @Test(arguments: 1...20 as ClosedRange<UInt64>)
    func `a generator that is held up is asked again`(seed: UInt64) throws {
        var target = Target(rate: 20_000, pauses: 0.5)
        target.dice = SeededGenerator(seed: seed)
        let outcome = try RateSearch().run(&target)
        #expect(Self.isNear(outcome.found[0].rate, 20_000, within: 0.03))
        #expect(Self.isNear(outcome.found[1].rate, 20_100, within: 0.03))
    }

    @Test func `a finer search needs few trials more`() throws {
        var target = Target(rate: 20_000)
        var search = RateSearch()
        search.goals = [.ndr]
        search.precision = 0.001
        search.attempts = 1
        let outcome = try search.run(&target)
        #expect(Self.isNear(outcome.found[0].rate, 20_000, within: 0.002))
        #expect(target.trials < 20)
    }

    @Test func `says when the generator is the limit`() throws {
        var target = Target(rate: 1e6, generator: 400_000)
        let outcome = try RateSearch().run(&target)
        #expect(outcome.found.count == 2)
        for found in outcome.found {
            #expect(found.generatorLimited && found.rate == 400_000 && found.failedAt == nil)
        }
        #expect(target.trials == 1)
    }

    /// Flat out it drops packets of its own, and paced it cannot get to the target's rate.
    @Test func `says so, too, when only its bursts are too much`() throws {
        var target = Target(rate: 100_000, generator: 120_000, paced: 80_000)
        let outcome = try RateSearch().run(&target)
        for found in outcome.found {
            #expect(found.generatorLimited && !found.isRough)
            #expect(Self.isNear(found.rate, 80_000, within: 0.01))
        }
        #expect(target.trials < 12)
    }

    @Test func `offers nothing above the maximum`() throws {
        var target = Target(rate: 1e6)
        var search = RateSearch()
        search.maximum = 30_000
        let outcome = try search.run(&target)
        #expect(outcome.found.allSatisfy { $0.rate == 30_000 && !$0.generatorLimited })
        #expect(outcome.found.allSatisfy { $0.isAtMaximum })
        search.maximum = 2e6
        var slow = Target(rate: 50_000)
        #expect(try search.run(&slow).found.allSatisfy { !$0.isAtMaximum })
    }

    @Test func `trials and attempts are those that were asked for`() throws {
        var target = Target(rate: 20_000, pauses: 1)
        var search = RateSearch()
        search.goals = [.ndr]
        search.trial = 1
        search.firstTrial = 1
        search.attempts = 1
        search.repetitions = 1
        var rates: [Double] = []
        _ = try search.run(&target, progress: { rates.append($0.offered) })
        #expect(target.seconds == Double(target.trials))
        #expect(Set(rates).count == rates.count)
    }

    /// A target that spoils packets is not worth a rate.
    @Test func `violations end the search`() throws {
        var target = Target(rate: 20_000, spoilsAbove: 15_000)
        let outcome = try RateSearch().run(&target)
        #expect(outcome.found.isEmpty && outcome.violations == ["payload": 3])
        #expect(target.trials == 1)
    }

    /// A long queue in overload makes packets late: that is loss, not a fault.
    @Test func `late is lost`() throws {
        var target = Target(rate: 50_000, lateAbove: 20_000)
        let outcome = try RateSearch().run(&target)
        #expect(outcome.violations.isEmpty)
        #expect(Self.isNear(outcome.found[0].rate, 20_000, within: 0.01))
    }

    @Test func `a target that always loses has no rate without loss`() throws {
        var target = Target(rate: 50_000, leak: 0.003)
        let outcome = try RateSearch().run(&target)
        #expect(outcome.found[0].rate == 0 && outcome.found[0].report == nil)
        // But one with little loss: 50000 carried, of which 0.3 % leaks.
        #expect(outcome.found[1].rate > 49_000 && outcome.found[1].rate < 50_300)
    }

    @Test func `a target that answers nothing is given up`() throws {
        var target = Target(rate: 0, depth: 0)
        let outcome = try RateSearch().run(&target)
        #expect(outcome.found.allSatisfy { $0.rate == 0 })
        #expect(target.trials == 2)
    }

    @Test func `stops when told to`() throws {
        var target = Target(rate: 20_000)
        var seen = 0
        let outcome = try RateSearch().run(&target, progress: { _ in seen += 1 }) { seen >= 3 }
        #expect(outcome.wasStopped && outcome.trials == 3)
        #expect(outcome.found.count == 1 && outcome.found[0].isRough)
    }

    struct Broken: LoadRunner {
        struct Failure: Error {}
        mutating func run(rate: OfferedRate, seconds: Double) throws -> RunReport {
            throw Failure()
        }
    }

    @Test func `an error of the runner ends it`() {
        var broken = Broken()
        #expect(throws: Broken.Failure.self) { try RateSearch().run(&broken) }
    }
}
