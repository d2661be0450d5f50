import CSluice
import Foundation
import SluiceTesting
import Synchronization
import Testing
import Wire

@testable import Dataplane
@testable import RuleEngine

/// Several workers on memory that share a policy and one virtual clock.
final class Workers {
    final class One {
        var worker: Worker<MemoryIO, Rules>
        init(_ worker: consuming Worker<MemoryIO, Rules>) { self.worker = worker }
    }

    private let links: [WorkerLink]
    private var inForce: Snapshot
    var snapshot: PolicySnapshot
    let all: [One]
    /// Not where a token comes.
    var clock: UInt64 = 1_500_000_000
    /// How many packets passed, and when.
    private(set) var passed: [(at: UInt64, count: Int)] = []

    /// Each worker replays these packets from the first on, burst by burst.
    init(_ count: Int, _ policy: Policy, _ packets: [[UInt8]]) throws {
        var set = PolicySet()
        set.main = policy
        let snapshot = try PolicySnapshot(set, generation: 1, workers: count)
        let first = ProcessorSnapshot(
            Rules.Configuration(snapshot), settings: PathSettings(), generation: 1)
        let links = try (0..<count).map { _ in try WorkerLink(Rules.self) }
        for link in links { link.publish(first) }
        all = try links.enumerated().map { index, link in
            var io = MemoryIO(placement: .exact(growth: 0), recordingSize: 0)
            for packet in packets { io.enqueue(packet) }
            return One(
                try Worker(
                    index: index, io: io, link: link, flowCapacity: 1024, seed: 1,
                    counters: CounterBlock(Rules.self)))
        }
        self.links = links
        self.snapshot = snapshot
        inForce = first
    }

    deinit { for link in links { link.free() } }

    /// Makes a policy that takes the place of the one in force.
    func publish(_ next: PolicySnapshot) {
        let snapshot = ProcessorSnapshot(
            Rules.Configuration(next), settings: PathSettings(), generation: next.generation)
        for (link, one) in zip(links, all) {
            link.publish(snapshot)
            one.worker.io.burstLimit = 0
            _ = one.worker.runBurst()
        }
        self.snapshot = next
        inForce = snapshot
    }

    /// One burst of packets at `clock`; returns how many passed. As in the loop, the worker then
    /// looks for more at once.
    @discardableResult
    func burst(_ index: Int, _ packets: Int) -> Int {
        let one = all[index]
        let before = one.worker.counters.read(.rule)
        one.worker.io.clock = clock
        one.worker.io.burstLimit = packets
        one.worker.io.rewind()
        precondition(one.worker.runBurst() == packets)
        one.worker.io.burstLimit = 0
        _ = one.worker.runBurst()
        let count = packets - Int(one.worker.counters.read(.rule) - before)
        if count > 0 { passed.append((clock, count)) }
        return count
    }

    var total: Int { passed.reduce(0) { $0 + $1.count } }

    /// The most that passed in any span of this length, nanoseconds.
    static func most(in span: UInt64, _ passed: [(at: UInt64, count: Int)]) -> Int {
        var (sum, most, first) = (0, 0, 0)
        for event in passed {
            sum += event.count
            while passed[first].at + span <= event.at {
                sum -= passed[first].count
                first += 1
            }
            most = max(most, sum)
        }
        return most
    }
}

@Suite("Rate limits")
struct RateLimitTests {
    static func limit(
        _ rate: UInt32, burst: UInt32? = nil, per: Match.Rate.Per = .all
    ) -> Rule {
        rule("limit", .drop) {
            $0.rate = Match.Rate(packetsPerSecond: rate, burst: burst, per: per)
        }
    }

    static func packet(
        _ port: UInt16 = 53, source: UInt32 = 0xC0A8_010A, endpoint: UInt64 = 1
    ) -> [UInt8] {
        var packet = PacketBuilder(PacketBuilder.udp4(port, 9, bytes("x"), source: source))
        packet.options[0] = .endpoint(endpoint)
        return packet.bytes()
    }

    // ---- The whole appliance's bound.

    enum Spread: String, CaseIterable {
        /// All on one worker; on all in turn; on another worker every 0.3 s; on any; each worker
        /// in turn for the time in which a bucket fills, after a pause; all at the same instant.
        case one, even, changing, random, pauses, together
    }

    /// More than the limit is offered, for some seconds, in bursts that differ.
    @Test(arguments: Spread.allCases, [1, 2, 4])
    func `no second has more than 1.1 times the rate, and none is lost`(
        spread: Spread, workers count: Int
    ) throws {
        for rate in [5, 999, 4000] as [UInt32] {
            let workers = try Workers(
                count, policy(Self.limit(rate)), (0..<64).map { _ in Self.packet() })
            var generator = SeededGenerator(seed: UInt64(rate))
            let start = workers.clock
            let end = start + 3_000_000_000
            var turn = 0
            while workers.clock < end {
                let packets = Int.random(in: 1...min(64, Int(rate) / 20 + 1), using: &generator)
                // 1.6 × the limit.
                let step = UInt64(packets) * 625_000_000 / UInt64(rate)
                turn += 1
                switch spread {
                case .one: workers.burst(count - 1, packets)
                case .even: workers.burst(turn % count, packets)
                case .changing:
                    workers.burst(Int((workers.clock - start) / 300_000_000) % count, packets)
                case .random:
                    workers.burst(Int.random(in: 0..<count, using: &generator), packets)
                case .pauses:
                    if turn % 40 == 0 { workers.clock += 100_000_000 }
                    workers.burst(turn / 40 % count, packets)
                case .together:
                    for worker in 0..<count { workers.burst(worker, packets) }
                }
                workers.clock += UInt64.random(in: step / 2...step * 3 / 2, using: &generator)
            }
            let burst = max(1, Int(rate) / 10)
            // One more than the sum: the phase of the tokens against the span.
            #expect(
                Workers.most(in: 1_000_000_000, workers.passed) <= Int(rate) + burst + 1,
                "\(rate)")
            #expect(
                Workers.most(in: 100_000_000, workers.passed) <= Int(rate) / 10 + burst + 2,
                "\(rate)")
            let seconds = Double(workers.clock - start) / 1e9
            #expect(Double(workers.total) >= 0.9 * Double(rate) * seconds, "\(rate)")
        }
    }

    @Test(arguments: [1, 2, 4])
    func `below the rate nothing is refused, and a burst is had after any load`(
        workers count: Int
    ) throws {
        let workers = try Workers(
            count, policy(Self.limit(1000, burst: 300)), (0..<64).map { _ in Self.packet() })
        var generator = SeededGenerator(seed: 3)
        for turn in 0..<2000 {
            let packets = Int.random(in: 1...8, using: &generator)
            #expect(workers.burst(turn % count, packets) == packets)
            workers.clock += UInt64(packets) * 1_250_000
        }
        workers.clock += 300_000_000
        var burst = 0
        for turn in 0..<20 { burst += workers.burst(turn % count, 32) }
        #expect(burst == 300)
    }

    // ---- The bucket itself.

    /// Against the plain definition, in numbers of any size.
    @Test(arguments: [(1, 1), (7, 3), (333, 40), (1_000_003, 100_000), (99_999_989, 5)])
    func `one worker's bucket is a token bucket`(rate: Int, burst: Int) throws {
        var generator = SeededGenerator(seed: UInt64(rate))
        let memory = try RateMemory(
            "a", Match.Rate(packetsPerSecond: UInt32(rate), burst: UInt32(burst)), flowIndex: 0,
            workers: 1)
        let key = RateLimit.Key()
        var now: UInt64 = 17
        var end: UInt128 = 0
        for _ in 0..<3000 {
            now += UInt64.random(in: 0...2_000_000_000 / UInt64(rate), using: &generator)
            if Int.random(in: 0..<100, using: &generator) == 0 {
                now += UInt64(2_000_000_000 * burst / rate)
            }
            let place = try #require(memory.limit.place(key, worker: 0, burst: 1))
            let wanted = UInt64.random(in: 1...4, using: &generator)
            let taken = try #require(memory.limit.take(wanted, place, worker: 0, now: now))
            let refilled = UInt128(now) * UInt128(rate) / 1_000_000_000
            let start = max(end, refilled)
            let room = refilled + UInt128(burst) - min(start, refilled + UInt128(burst))
            #expect(UInt128(taken) == min(UInt128(wanted), room))
            end = start + UInt128(taken)
            if taken > 1, Bool.random(using: &generator) {
                memory.limit.giveBack(taken - 1, place, worker: 0)
                end -= UInt128(taken - 1)
            }
        }
    }

    /// Workers that hold tokens while others take and give back: what they keep is never more than
    /// the plain bucket has, whatever the order.
    @Test(arguments: 1...8 as ClosedRange<UInt64>)
    func `interleaved workers never keep more than the bucket has`(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        let count = Int.random(in: 2...5, using: &generator)
        let memory = try RateMemory(
            "a", Match.Rate(packetsPerSecond: 1000, burst: 50), flowIndex: 0, workers: count)
        let key = RateLimit.Key()
        var held = [UInt64](repeating: 0, count: count)
        var now: UInt64 = 1_000_000_000
        var kept: [(at: UInt64, count: Int)] = []
        for _ in 0..<5000 {
            now += UInt64.random(in: 0...1_000_000, using: &generator)
            let worker = Int.random(in: 0..<count, using: &generator)
            let place = try #require(memory.limit.place(key, worker: worker, burst: 1))
            if held[worker] > 0 {
                memory.limit.giveBack(held[worker], place, worker: worker)
                held[worker] = 0
                continue
            }
            let taken = try #require(
                memory.limit.take(
                    UInt64.random(in: 1...16, using: &generator), place, worker: worker, now: now))
            held[worker] = UInt64.random(in: 0...taken, using: &generator)
            if taken > held[worker] { kept.append((now, Int(taken - held[worker]))) }
        }
        for span in [1, 10, 100, 1000] as [UInt64] {
            #expect(Workers.most(in: span * 1_000_000, kept) <= 50 + Int(span) + 1)
        }
    }

    // ---- Real threads.

    /// Threads at once on the real clock, each a whole worker: by the time of each burst no span
    /// has more than its share.
    @Test(arguments: [2, 4])
    func `threads at once keep the bound`(count: Int) throws {
        let (rate, burst) = (2000, 2000)
        let limit = Self.limit(UInt32(rate), burst: UInt32(burst))
        let workers = try Workers(count, policy(limit), (0..<64).map { _ in Self.packet() })
        let start = sluice_monotonic_ns()
        let end = start + 1_200_000_000
        let all = Mutex<[(at: UInt64, count: Int)]>([])
        let group = DispatchGroup()
        for one in workers.all {
            nonisolated(unsafe) let one = one
            group.enter()
            Thread.detachNewThread {
                var generator = SeededGenerator(seed: 5)
                var passed: [(at: UInt64, count: Int)] = []
                var now = sluice_monotonic_ns()
                while now < end {
                    one.worker.io.clock = now
                    let packets = Int.random(in: 1...8, using: &generator)
                    one.worker.io.burstLimit = packets
                    let before = one.worker.counters.read(.rule)
                    one.worker.io.rewind()
                    _ = one.worker.runBurst()
                    let dropped = Int(one.worker.counters.read(.rule) - before)
                    if packets > dropped { passed.append((now, packets - dropped)) }
                    now = sluice_monotonic_ns()
                }
                all.withLock { $0 += passed }
                group.leave()
            }
        }
        #expect(group.wait(timeout: .now() + 60) == .success)
        let passed = all.withLock { $0.sorted { $0.at < $1.at } }
        let total = passed.reduce(0) { $0 + $1.count }
        let seconds = Double(passed.last!.at - start) / 1e9
        #expect(Workers.most(in: 1_000_000_000, passed) <= rate + burst + 1)
        #expect(Workers.most(in: 10_000_000, passed) <= rate / 100 + burst + 1)
        let most = Double(rate) * seconds + Double(burst)
        #expect(Double(total) <= most + 1)
        // On a busy machine threads may offer less than the limit.
        let offered = workers.all.reduce(0) { $0 + $1.worker.counters.read(.packetsReceived) }
        #expect(Double(total) >= 0.9 * min(most, Double(offered)))
    }

    /// Nothing but the protocol, as fast as it goes: tokens of one number each are all taken once.
    @Test func `threads never take a token twice`() throws {
        let count = 4
        let memory = try RateMemory(
            "a", Match.Rate(packetsPerSecond: 1, burst: 100_000), flowIndex: 0, workers: count)
        let total = Atomic(0 as UInt64)
        let group = DispatchGroup()
        for worker in 0..<count {
            group.enter()
            Thread.detachNewThread {
                let place = memory.limit.place(RateLimit.Key(), worker: worker, burst: 1)!
                var generator = SeededGenerator(seed: UInt64(worker))
                var kept: UInt64 = 0
                for _ in 0..<2_000_000 {
                    let wanted = UInt64.random(in: 1...3, using: &generator)
                    let taken = memory.limit.take(wanted, place, worker: worker, now: 5)
                    guard taken != 0 else { break }
                    kept += taken ?? 0
                    if let taken, taken > 1 {
                        memory.limit.giveBack(1, place, worker: worker)
                        kept -= 1
                    }
                }
                total.add(kept, ordering: .relaxed)
                group.leave()
            }
        }
        #expect(group.wait(timeout: .now() + 60) == .success)
        let kept = total.load(ordering: .relaxed)
        #expect(kept <= 100_000)
        // A token given back while another worker took some behind it is lost.
        #expect(kept >= 50_000)
    }

    // ---- Whose tokens.

    @Test(arguments: [1, 4])
    func `every source behind an endpoint has a bucket of its own`(count: Int) throws {
        var packets = (1...5).map { Self.packet(source: 0x0A00_0000 + $0) }
        packets += (1...5).map { Self.packet(source: 0x0A00_0000 + $0, endpoint: 2) }
        packets.append(
            PacketBuilder(PacketBuilder.udp6(5, 6, bytes("x"))).bytes())
        let workers = try Workers(
            count, policy(Self.limit(1, burst: 3, per: .source)), packets)
        let passed = (0..<8).map { workers.burst($0 % count, 11) }
        #expect(passed == [11, 11, 11, 0, 0, 0, 0, 0])
        workers.clock += 1_000_000_001
        #expect((0..<3).map { workers.burst($0 % count, 11) } == [11, 0, 0])
    }

    @Test func `every endpoint has a bucket of its own`() throws {
        let packets = (0..<20).map {
            Self.packet(source: UInt32($0), endpoint: UInt64($0 % 4))
        }
        let workers = try Workers(2, policy(Self.limit(1, burst: 7, per: .endpoint)), packets)
        #expect((0..<3).map { workers.burst($0 % 2, 20) } == [20, 8, 0])
    }

    @Test func `every flow has buckets of its own, one for each rule`() throws {
        let packets = (0..<8).map { Self.packet(1000 + UInt16($0 % 4)) }
        var counted = Self.limit(1, burst: 2, per: .flow)
        counted.name = "counted"
        counted.terminal = nil
        let workers = try Workers(
            1, policy(counted, Self.limit(1, burst: 5, per: .flow)), packets)
        #expect((0..<4).map { _ in workers.burst(0, 8) } == [8, 8, 4, 0])
        #expect(workers.snapshot.hits(rule: 0) == 24)
        workers.clock += 2_000_000_001
        #expect(workers.burst(0, 8) == 8)
        // A bucket holds no more after a longer pause.
        workers.clock += 60_000_000_000
        #expect((0..<4).map { _ in workers.burst(0, 8) } == [8, 8, 4, 0])
    }

    @Test func `more sources than slots: those in use stay, the others begin anew`() throws {
        let memory = try RateMemory(
            "a", Match.Rate(packetsPerSecond: 1000, burst: 1000, per: .source), flowIndex: 0,
            workers: 2)
        let limit = memory.limit
        func key(_ number: Int) -> RateLimit.Key {
            var key = RateLimit.Key()
            key.low = UInt64(number)
            return key
        }
        // One source has used its bucket up, and goes on trying.
        let busy = try #require(limit.place(key(0), worker: 0, burst: 1))
        while limit.take(100, busy, worker: 0, now: 1) != 0 {}
        for number in 1..<100_000 {
            let place = try #require(limit.place(key(number), worker: 0, burst: 1))
            #expect(limit.take(1, place, worker: 0, now: 1) == 1)
        }
        for worker in 0..<2 {
            let place = try #require(limit.place(key(0), worker: worker, burst: 1))
            #expect(limit.take(1, place, worker: worker, now: 1) == 0)
        }
    }

    // ---- Rules.

    @Test func `only a packet that reaches the rule spends`() throws {
        let first = rule("first", .forward) { $0.sourcePorts = [1...10] }
        var counted = Self.limit(1, burst: 2)
        counted.name = "counted"
        counted.terminal = nil
        counted.match.destinationPorts = [9...9]
        var other = Self.limit(1, burst: 2)
        other.name = "other"
        other.match.destinationPorts = [10...10]
        let packets = [Self.packet(1), Self.packet(5000)]
        let workers = try Workers(
            1, policy(first, counted, other, Self.limit(1, burst: 3)), packets)
        let passed = (0..<5).map { _ in workers.burst(0, 2) }
        #expect(passed == [2, 2, 2, 1, 1])
        #expect((0..<4).map { workers.snapshot.hits(rule: $0) } == [5, 3, 0, 2])
    }

    @Test func `a rule after the one that decides spends nothing`() throws {
        let decides = Self.limit(1, burst: 1)
        var later = Self.limit(1, burst: 2)
        later.name = "later"
        let workers = try Workers(1, policy(decides, later), [Self.packet()])
        #expect((0..<3).map { _ in workers.burst(0, 1) } == [1, 0, 0])
        workers.clock += 1_000_000_001
        // Had the dropped ones spent, none were left.
        #expect(workers.burst(0, 1) == 1)
        #expect((0..<2).map { workers.snapshot.hits(rule: $0) } == [2, 0])
    }

    @Test func `a dry run counts what exceeds`() throws {
        var trial = Self.limit(1, burst: 4)
        trial.isDryRun = true
        let workers = try Workers(1, policy(trial), (0..<10).map { _ in Self.packet() })
        #expect(workers.burst(0, 10) == 10)
        #expect(workers.snapshot.hits(rule: 0) == 6)
    }

    /// Else one first fragment would let any number of later ones pass.
    @Test func `later fragments count like other packets`() throws {
        let first = PacketBuilder.udp4(40_000, 53, bytes("hello!!!"), flagsAndOffset: 0x2000)
        let later = PacketBuilder.ipv4(protocolNumber: 17, bytes("rest"), flagsAndOffset: 0x0002)
        for per in [.all, .source, .endpoint, .flow] as [Match.Rate.Per] {
            let workers = try Workers(
                1, policy(Self.limit(1, burst: 3, per: per)),
                [PacketBuilder(first).bytes()]
                    + (0..<9).map { _ in PacketBuilder(later).bytes() })
            #expect(workers.burst(0, 10) == 3)
        }
    }

    /// A limit on a port does not see later fragments: they follow the first, as many as a packet
    /// may have.
    @Test func `one first fragment does not let any number of later ones pass`() throws {
        var limit = Self.limit(1, burst: 3)
        limit.match.ports = [53...53]
        let first = PacketBuilder.udp4(40_000, 53, bytes("hello!!!"), flagsAndOffset: 0x2000)
        let later = PacketBuilder.ipv4(
            protocolNumber: 17, [UInt8](repeating: 7, count: 1000), flagsAndOffset: 0x2002)
        var bench = try RuleBench(policy(limit))
        var passed = 0
        for packet in [first] + (0..<200).map({ _ in later }) {
            if case .forwarded = bench.outcome(of: PacketBuilder(packet).bytes()) { passed += 1 }
        }
        #expect(passed == 66)
    }

    /// What stands behind a rule that decides a whole packet has no say in its fragments either.
    @Test func `later fragments spend no tokens behind the rule that forwards the first`() throws {
        let trusted = rule("trusted", .forward) {
            $0.source = [AddressRange(isIPv6: false, address: 0xC0A8_0000, length: 16)]
        }
        var limit = Self.limit(1, burst: 1)
        limit.isLogged = true
        let first = PacketBuilder.udp4(40_000, 53, bytes("hello!!!"), flagsAndOffset: 0x2000)
        let later = PacketBuilder.ipv4(
            protocolNumber: 17, bytes("rest"), flagsAndOffset: 0x0002)
        var bench = try RuleBench(policy(trusted, limit))
        for packet in [first, later, later, later] {
            guard case .forwarded = bench.outcome(of: PacketBuilder(packet).bytes()) else {
                Issue.record("dropped")
                continue
            }
        }
        let hits = (bench.snapshot.hits(rule: 0), bench.snapshot.hits(rule: 1))
        #expect(hits == (1, 0))
    }

    @Test(arguments: [Match.Rate.Per.all, .endpoint, .source, .flow])
    func `a reload hands out no fresh burst, unless the limit changes`(
        per: Match.Rate.Per
    ) throws {
        let workers = try Workers(
            1, policy(Self.limit(1, burst: 5, per: per)), (0..<5).map { _ in Self.packet() })
        func publish(_ limit: Rule) throws {
            var set = PolicySet()
            set.main = policy(rule("new", nil) { _ in }, limit)
            let next = try PolicySnapshot(
                set, generation: workers.snapshot.generation + 1, workers: 1,
                after: workers.snapshot)
            weak let old = workers.snapshot
            workers.publish(next)
            #expect(old == nil)
        }
        #expect(workers.burst(0, 5) == 5)
        for _ in 0..<3 {
            try publish(Self.limit(1, burst: 5, per: per))
            #expect(workers.burst(0, 5) == 0)
        }
        workers.clock += 2_000_000_001
        try publish(Self.limit(1, burst: 5, per: per))
        #expect(workers.burst(0, 5) == 2)
        if per != .flow {
            try publish(Self.limit(2, burst: 4, per: per))
            #expect(workers.burst(0, 5) == 4)
        }
    }

    @Test func `steering by CPU is refused with a rate`() {
        #expect(policy(Self.limit(5)).fragments == .followFirst)
        var single = policy(Self.limit(5))
        single.fragments = .drop
        #expect(single.needsWholeFlows == "rate (rule 'limit')")
    }
}
