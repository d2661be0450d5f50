import Configuration
import Dataplane
import PacketIO
import RuleEngine
import Support
import Wire

/// What the rule engine made of one packet.
struct Judgement {
    /// Nil: forwarded.
    var reason: DropReason?
    /// Rules that matched, in order, by index.
    var matched: [Int] = []
    /// The one of them that decided; nil when none did.
    var decisive: Int?
    /// The outer packet that would go back.
    var answer: [UInt8]?
}

/// The appliance's own packet loop and rule engine with one worker, on packets of a capture.
struct CaptureJudge: ~Copyable {
    private let rules: [Rule]
    private let snapshot: PolicySnapshot
    private var worker: Worker<CaptureIO, Rules>
    private var hits: [UInt64]
    private var drops: [UInt64]
    /// The first packet's time; nil before it.
    private var start: UInt64?

    /// - Parameter packets: how many will come: no more flows than that need room.
    init(_ configuration: Configuration, packets: Int) throws(Failure) {
        let settings = configuration.run.pathSettings
        var capacity = 8
        while capacity < configuration.run.flowsPerWorker, capacity < packets * 4 { capacity *= 2 }
        rules = configuration.policy.rules
        hits = [UInt64](repeating: 0, count: rules.count)
        drops = DropReason.allCases.map { _ in 0 }
        do {
            let snapshot = try PolicySnapshot(
                configuration.policy, generation: 1, workers: 1)
            worker = try Worker(
                index: 0, io: CaptureIO(),
                processor: Rules(configuration: Rules.Configuration(snapshot), worker: 0),
                settings: settings, flowCapacity: capacity, seed: 1,
                counters: CounterBlock(Rules.self))
            self.snapshot = snapshot
        } catch let error as IOFailure {
            throw Failure(error)
        } catch {
            throw Failure(.system, "\(error)")
        }
    }

    /// Judges an outer packet. - Parameter time: when it was captured, nanoseconds; time that runs
    /// backwards stands still.
    mutating func judge(_ packet: [UInt8], at time: UInt64) -> Judgement {
        let first = start ?? time
        start = first
        // As on a host that has been up for a second, and that never is up for centuries.
        let now = 1_000_000_000 + min(time > first ? time - first : 0, 1 << 62)
        worker.io.clock = max(worker.io.clock, now)
        worker.io.put(packet)
        _ = worker.runBurst()
        var judgement = Judgement(answer: worker.io.answer)
        for (i, reason) in DropReason.allCases.enumerated() {
            let count = worker.counters.read(reason)
            if count > drops[i] { judgement.reason = reason }
            drops[i] = count
        }
        for rule in rules.indices {
            let count = snapshot.hits(rule: rule)
            if count > hits[rule] { judgement.matched.append(rule) }
            hits[rule] = count
        }
        judgement.decisive = decisive(judgement)
        return judgement
    }

    /// Rules after the one that decided do not count, so it is the last that is in earnest, if what
    /// it does is what happened.
    private func decisive(_ judgement: Judgement) -> Int? {
        guard let last = judgement.matched.last(where: { !rules[$0].isDryRun }) else { return nil }
        let rule = rules[last]
        let didIt =
            switch judgement.reason {
            case nil: rule.terminal == .forward
            case .rule: rule.terminal == .drop
            case .tooBig, .innerHeaderChecksum, .outerChecksum: !rule.replacements.isEmpty
            case .outerMalformed, .sourceNotAllowed, .outerTTL, .geneveMalformed, .geneveVersion,
                .geneveControl, .geneveCriticalOption, .geneveProtocol, .awsOptions,
                .innerMalformed, .default, .processor, .fragment, .unknownTCP, .flowTableFull,
                .send:
                false
            }
        return didIt ? last : nil
    }
}
