import SluiceCore
import SluiceTesting

/// Runs the packet loop with rules on memory for callgrind, which counts only inside `measured`.
/// Every packet is UDP of 128 bytes and matches no rule.
///
///     RuleCost CASE PACKETS
@main
enum RuleCost {
    /// Policies by name: how many rules, whether some look for payload strings, how many prefixes
    /// one more rule has.
    static let cases: [String: (rules: Int, hasStrings: Bool, prefixes: Int)] = [
        "rules-0": (0, false, 0), "rules-10": (10, false, 0), "rules-100": (100, false, 0),
        "rules-10000": (10_000, false, 0), "strings-10": (10, true, 0),
        "strings-10000": (10_000, true, 0), "prefixes-1": (0, false, 1),
        "prefixes-1000000": (0, false, 1_000_000),
    ]

    static func main() throws {
        let arguments = CommandLine.arguments
        guard arguments.count == 3, let chosen = cases[arguments[1]],
            let packets = Int(arguments[2])
        else {
            print("usage: RuleCost \(cases.keys.sorted().joined(separator: "|")) PACKETS")
            return
        }
        var set = PolicySet()
        set.main = policy(chosen.rules, hasStrings: chosen.hasStrings, prefixes: chosen.prefixes)
        let clock = ContinuousClock()
        var made: PolicySnapshot?
        let time = try clock.measure {
            made = try PolicySnapshot(set, generation: 1, workers: 1)
        }
        let snapshot = made!
        print("compiled in \(time), \(snapshot.byteCount) bytes of tables")
        let io = MemoryIO(burst: 64, placement: .exact(growth: 64), recordingSize: 0)
        var worker = try Worker(
            index: 0, io: io,
            processor: Rules(configuration: Rules.Configuration(snapshot), worker: 0),
            settings: PathSettings(), flowCapacity: 4096, seed: 1,
            counters: CounterBlock(Rules.self))
        let payload = (0..<100).map { UInt8(97 + $0 % 23) }
        for i in 0..<packets {
            var builder = PacketBuilder(PacketBuilder.udp4(4000, 4001, payload))
            builder.sourcePort = UInt16(1024 + i % 64)
            worker.io.enqueue(builder.bytes(), facts: .headerVerified)
        }
        measured(&worker)
        precondition(worker.counters.read(.packetsForwarded) == UInt64(packets))
        precondition((0..<snapshot.ruleNames.count).allSatisfy { snapshot.hits(rule: $0) == 0 })
    }

    @inline(never)
    static func measured(_ worker: inout Worker<MemoryIO, Rules>) {
        while worker.runBurst() > 0 {}
    }

    /// Of ten rules four name ports, three prefixes, one an endpoint, one flags, one a string.
    static func policy(_ count: Int, hasStrings: Bool, prefixes: Int) -> Policy {
        var generator = SplitMix64(seed: 42)
        var policy = Policy()
        for i in 0..<count {
            var rule = Rule("\(i)")
            rule.terminal = .drop
            switch i % 10 {
            case 0...3:
                let port = UInt16.random(in: 5000...60_000, using: &generator)
                rule.match.ports = [port...port]
            case 4...6: rule.match.source = [prefix(&generator)]
            case 7: rule.match.endpoints = [generator.next()]
            case 8:
                rule.match.tcpFlags = Match.TCPFlags(
                    set: UInt8.random(in: 1...31, using: &generator))
            default:
                let string = (0..<12).map { _ in UInt8.random(in: 65...90, using: &generator) }
                if hasStrings {
                    rule.match.payload = Match.Payload([string])
                } else {
                    rule.match.ports = [4999...4999]
                }
            }
            policy.rules.append(rule)
        }
        if prefixes > 0 {
            var rule = Rule("set")
            rule.terminal = .drop
            rule.match.source = (0..<prefixes).map { _ in prefix(&generator) }
            policy.rules.append(rule)
        }
        return policy
    }

    /// Never the packet's own 192.168.0.0/16.
    static func prefix(_ generator: inout SplitMix64) -> AddressRange {
        let length = Int.random(in: 20...32, using: &generator)
        var address = UInt32(truncatingIfNeeded: generator.next())
        if address >> 24 == 192 { address ^= 1 << 31 }
        return AddressRange(isIPv6: false, address: UInt128(address), length: length)
    }
}
