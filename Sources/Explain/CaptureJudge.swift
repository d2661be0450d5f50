import Configuration
import Dataplane
import PacketIO
import RuleEngine
import Support
import Wire

/// What became of one packet.
struct Judgement {
    /// Nil: forwarded.
    var reason: DropReason?
    /// Rules that matched, in order, by index.
    var matched: [Int] = []
    /// The one of them that decided; nil when none did.
    var decisive: Int?
    /// Rules of the processor's own that counted it, by name.
    var own: [String] = []
    /// The outer packet that would go back.
    var answer: [UInt8]?
}

/// The appliance's own packet loop with one worker, on packets of a capture.
protocol PacketJudge: AnyObject {
    /// Judges an outer packet. - Parameter time: when it was captured, nanoseconds; time that runs
    /// backwards stands still.
    func judge(_ packet: [UInt8], at time: UInt64) -> Judgement
}

/// A judge of whatever the program runs: rules, a processor of its own, or a chain of both.
final class JudgeMaker: ProcessorVisitor {
    private let configuration: Configuration
    private let shape: ProcessorShape
    private let packets: Int
    private var judge: (any PacketJudge)?

    private init(_ configuration: Configuration, _ shape: ProcessorShape, _ packets: Int) {
        self.configuration = configuration
        self.shape = shape
        self.packets = packets
    }

    /// - Parameter packets: how many will come: no more flows than that need room.
    static func judge(
        _ configuration: Configuration, _ shape: ProcessorShape, packets: Int
    ) throws -> any PacketJudge {
        let maker = JudgeMaker(configuration, shape, packets)
        do {
            try shape.accept(maker)
        } catch let error as IOFailure {
            throw Failure(error)
        } catch let errors as ConfigErrors {
            throw errors
        } catch {
            throw Failure(.system, "\(error)")
        }
        // visit() made it.
        return maker.judge!
    }

    func visit<Processor: PacketProcessor & ~Copyable>(_ processor: Processor.Type) throws {
        let policy =
            shape.hasRules
            ? try PolicySnapshot(configuration.policy, generation: 1, workers: 1) : nil
        // What the processor's own reader gave.
        let own =
            try configuration.processor.read(policy: policy, shape.read) as! Processor.Configuration
        judge = try CaptureJudge<Processor>(configuration, policy, own, packets: packets)
    }
}

final class CaptureJudge<Processor: PacketProcessor & ~Copyable>: PacketJudge {
    private let rules: [Rule]
    private let policy: PolicySnapshot?
    private var worker: Worker<CaptureIO, Processor>
    private var hits: [UInt64]
    private var ownHits: [UInt64]
    private var drops: [UInt64]
    /// The first packet's time; nil before it.
    private var start: UInt64?

    init(
        _ configuration: Configuration, _ policy: PolicySnapshot?, _ own: Processor.Configuration,
        packets: Int
    ) throws {
        var capacity = 8
        while capacity < configuration.run.flowsPerWorker, capacity < packets * 4 { capacity *= 2 }
        rules = configuration.policy.rules
        hits = [UInt64](repeating: 0, count: rules.count)
        ownHits = Processor.ruleNames.map { _ in 0 }
        drops = DropReason.allCases.map { _ in 0 }
        self.policy = policy
        worker = try Worker(
            index: 0, io: CaptureIO(), processor: Processor(configuration: own, worker: 0),
            settings: configuration.run.pathSettings, flowCapacity: capacity, seed: 1,
            counters: CounterBlock(Processor.self))
    }

    func judge(_ packet: [UInt8], at time: UInt64) -> Judgement {
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
            let count = policy?.hits(rule: rule) ?? 0
            if count > hits[rule] { judgement.matched.append(rule) }
            hits[rule] = count
        }
        for (rule, name) in Processor.ruleNames.enumerated() {
            let count = worker.counters.readRule(rule)
            if count > ownHits[rule] { judgement.own.append(name) }
            ownHits[rule] = count
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
