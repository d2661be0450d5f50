import CInspect
import SluiceCore
import SluiceTesting

/// The rule engine on 64 packets that match no rule: each of another flow, source and port.
struct RuleScene: Sendable {
    let name: String
    let policy: @Sendable () -> Policy
    /// The inner packet from an address.
    let inner: @Sendable (UInt32) -> [UInt8]

    static let all =
        [10, 10_000].flatMap { count in
            [
                RuleScene(name: "rules-\(count)", policy: { RuleMix.policy(rules: count) }) {
                    unsearched(from: $0)
                },
                RuleScene(name: "rules-\(count)-scan", policy: { RuleMix.policy(rules: count) }) {
                    PacketBuilder.udp4(4000, 4001, Scene.text(100), source: $0)
                },
            ]
        }
        + [0, 1_000_000].map { count in
            RuleScene(name: "prefixes-\(count)", policy: { RuleMix.policy(prefixes: count) }) {
                unsearched(from: $0)
            }
        }
        + [2, 100, 5000].flatMap { count in
            [
                strings("text-\(count)", RuleMix.words(count), RuleMix.text(1400)),
                strings(
                    "beginnings-\(count)", RuleMix.words(count),
                    RuleMix.beginnings(of: RuleMix.words(count), 1400)),
            ]
        }
        + [
            strings(
                "deceptive-1400", RuleMix.deceptive(5000), [UInt8](repeating: 97, count: 1400)),
            strings(
                "deceptive-2800", RuleMix.deceptive(5000), [UInt8](repeating: 97, count: 2800)),
        ]

    private static func strings(_ name: String, _ strings: [[UInt8]], _ payload: [UInt8])
        -> RuleScene
    {
        RuleScene(name: name, policy: { RuleMix.policy(strings: strings) }) {
            PacketBuilder.udp4(4000, 4001, payload, source: $0)
        }
    }

    /// 128 bytes of which none are searched: they stand behind the UDP datagram, as long as its
    /// header, so that the rules alone are counted.
    private static func unsearched(from source: UInt32) -> [UInt8] {
        let udp: [UInt8] = [0x0F, 0xA0, 0x0F, 0xA1, 0, 8, 0, 0]
        return PacketBuilder.ipv4(
            source: source, destination: 0xC0A8_0102, protocolNumber: 17, udp + Scene.text(100))
    }

    /// Two figures, in this order: the worker on memory, and memory alone.
    func count(rounds: Int) throws {
        var set = PolicySet()
        set.main = policy()
        let snapshot = try PolicySnapshot(set, generation: 1, workers: 1)
        var io = Scene.makeIO()
        for i in 0..<64 {
            var builder = PacketBuilder(inner(RuleMix.source(i)))
            builder.sourcePort = 1024 + UInt16(i)
            io.enqueue(builder.bytes(), facts: .headerVerified)
        }
        var worker = try Worker(
            index: 0, io: io,
            processor: Rules(configuration: Rules.Configuration(snapshot), worker: 0),
            settings: Scene.settings(), flowCapacity: 4096, seed: 1,
            counters: CounterBlock(Rules.self))
        _ = worker.runBurst()
        for _ in 0..<rounds {
            worker.io.rewind()
            measuredRules(&worker)
        }
        inspect_dump_mark()
        for _ in 0..<rounds {
            worker.io.rewind()
            measuredMemory(&worker.io, true)
        }
        inspect_dump_mark()
        let hits = (0..<snapshot.ruleNames.count).reduce(0) { $0 + snapshot.hits(rule: $1) }
        let answers = (0..<64).count { unsafe worker.io.frames[$0].isAnswer }
        guard hits == 0, answers == 64 else {
            PacketCost.fail("\(name): \(hits) rules matched, \(answers) of 64 forwarded")
        }
        print(name, rounds * 64)
    }
}

@inline(never)
func measuredRules(_ worker: inout Worker<MemoryIO, Rules>) {
    while worker.runBurst() > 0 {}
}
