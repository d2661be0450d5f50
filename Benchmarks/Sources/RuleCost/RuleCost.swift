import CMemmem
import SluiceCore
import SluiceTesting

/// What large policies take, in time and memory; instructions are counted by tools/instructions.
///
///     RuleCost strings   to search a payload of 1,400 bytes, beside one memmem for each string
///     RuleCost policies  to compile 10,000 rules, and a million prefixes
@main
enum RuleCost {
    static func main() throws {
        switch CommandLine.arguments.dropFirst().first {
        case "strings": try strings()
        case "policies": try policies()
        default: print("usage: RuleCost strings|policies")
        }
    }

    static func snapshot(_ policy: Policy) throws -> PolicySnapshot {
        var set = PolicySet()
        set.main = policy
        return try PolicySnapshot(set, generation: 1, workers: 1)
    }

    // ---- Payload strings.

    /// The time of a payload is that of a packet less that of the same packet with a policy that
    /// asks for no string. All three in turn, the best of ten times.
    static func strings() throws {
        print("strings  payload     search ns  memmem ns   ratio  table KiB")
        for count in [2, 4, 5, 8, 32, 100, 1000, 5000] {
            let strings = RuleMix.words(count)
            let payloads = [
                ("text", RuleMix.text(1400)),
                ("beginnings", RuleMix.beginnings(of: strings, 1400)),
            ]
            for (name, payload) in payloads {
                var searching = try Play(RuleMix.policy(strings: strings), payload)
                var passing = try Play(RuleMix.policy(prefixes: 0), payload)
                var best = (search: Double.infinity, pass: Double.infinity, plain: Double.infinity)
                for _ in 0..<10 {
                    best.search = min(best.search, searching.nanoseconds())
                    best.pass = min(best.pass, passing.nanoseconds())
                    best.plain = min(best.plain, memmems(strings, payload))
                }
                let search = best.search - best.pass
                print(
                    padded("\(count)", 7), name.padded(10), padded("\(Int(search))", 10),
                    padded("\(Int(best.plain))", 10),
                    padded("\((best.plain / search * 10).rounded() / 10)", 7),
                    padded("\(searching.snapshot.byteCount >> 10)", 10))
            }
        }
    }

    /// Nanoseconds to look for every string by itself.
    static func memmems(_ strings: [[UInt8]], _ payload: [UInt8]) -> Double {
        let rounds = max(1, 10_000 / strings.count)
        var found = 0
        let time = ContinuousClock().measure {
            for _ in 0..<rounds {
                for string in strings
                where bench_memmem(payload, payload.count, string, string.count) != nil {
                    found += 1
                }
            }
        }
        precondition(found == 0)
        return time / .nanoseconds(1) / Double(rounds)
    }

    // ---- Policies.

    static func policies() throws {
        try compile("10,000 rules", RuleMix.policy(rules: 10_000), per: 10_000, "rule")
        try compile(
            "1,000,000 prefixes", RuleMix.policy(prefixes: 1_000_000), per: 1_000_000, "prefix")
        try compile("65,536 rules of one prefix", onePrefixEach(65_536), per: 65_536, "rule")
        try compile(
            "5,000 strings", RuleMix.policy(strings: RuleMix.words(5000)), per: 5000, "string")
    }

    static func onePrefixEach(_ count: Int) -> Policy {
        var policy = Policy()
        policy.rules = (0..<count).map { i in
            var rule = Rule("\(i)")
            rule.terminal = .drop
            rule.match.source = [
                AddressRange(isIPv6: false, address: UInt128(i) << 14, length: 24)
            ]
            return rule
        }
        return policy
    }

    static func compile(_ name: String, _ policy: Policy, per count: Int, _ item: String) throws {
        var made: PolicySnapshot?
        let time = try ContinuousClock().measure { made = try snapshot(policy) }
        let bytes = made!.byteCount
        print(
            name.padded(28), padded("\(Int(time / .milliseconds(1)))", 6), "ms",
            padded("\(bytes >> 10)", 8), "KiB", padded("\(bytes / count)", 6), "bytes a \(item)")
    }

    static func padded(_ text: String, _ width: Int) -> String {
        String(repeating: " ", count: max(0, width - text.count)) + text
    }
}

/// A worker with a policy, and a burst of 64 packets with one payload that match none of it.
struct Play: ~Copyable {
    let snapshot: PolicySnapshot
    var worker: Worker<MemoryIO, Rules>

    init(_ policy: Policy, _ payload: [UInt8]) throws {
        let snapshot = try RuleCost.snapshot(policy)
        var io = MemoryIO(burst: 64, placement: .exact(growth: 64), recordingSize: 0)
        for i in 0..<64 {
            var builder = PacketBuilder(
                PacketBuilder.udp4(4000, 4001, payload, source: RuleMix.source(i)))
            builder.sourcePort = UInt16(1024 + i)
            io.enqueue(builder.bytes(), facts: .headerVerified)
        }
        let worker = try Worker(
            index: 0, io: io,
            processor: Rules(configuration: Rules.Configuration(snapshot), worker: 0),
            settings: PathSettings(), flowCapacity: 4096, seed: 1,
            counters: CounterBlock(Rules.self))
        self.snapshot = snapshot
        self.worker = worker
    }

    /// Of one packet.
    mutating func nanoseconds() -> Double {
        let rounds = 20
        var time = Duration.zero
        for _ in 0..<rounds {
            worker.io.rewind()
            time += ContinuousClock().measure { while worker.runBurst() > 0 {} }
        }
        precondition((0..<snapshot.ruleNames.count).allSatisfy { snapshot.hits(rule: $0) == 0 })
        return time / .nanoseconds(1) / Double(rounds * 64)
    }
}

extension String {
    func padded(_ width: Int) -> String {
        self + String(repeating: " ", count: max(0, width - count))
    }
}
