import PacketIO
import SluiceTesting
import Testing
import Wire

@testable import Dataplane
@testable import RuleEngine

/// A policy applied as plainly as possible: rule by rule, condition by condition, on bytes.
struct NaiveRules {
    let policy: Policy

    /// The inner packet as far as rules see it, from the bytes that the tests made. Nil when the
    /// parser would refuse it: such packets are compared in other tests.
    struct Facts {
        var version: UInt8 = 4
        var number: UInt8 = 0
        var source: UInt128 = 0
        var destination: UInt128 = 0
        var ports: (UInt16, UInt16)?
        var flags: UInt8?
        var icmp: (type: UInt8, code: UInt8, sequence: UInt16)?
        var payload: [UInt8] = []
        var length = 0
        var ttl: UInt8 = 0
        var dscp: UInt8 = 0
        var kind = FragmentKind.whole
        var endpoint: UInt64 = 0
        var isReplaceable = false
    }

    /// Hits of every rule, and what becomes of the packet: nil = by default.
    func evaluate(_ facts: Facts) -> (hits: [Bool], terminal: Rule.Terminal?, replaces: Bool) {
        var hits = [Bool](repeating: false, count: policy.rules.count)
        var replaces = false
        for (i, rule) in policy.rules.enumerated() where NaiveRules.holds(rule.match, facts) {
            hits[i] = true
            if rule.isDryRun { continue }
            if !rule.replacements.isEmpty { replaces = true }
            if let terminal = rule.terminal { return (hits, terminal, replaces) }
        }
        return (hits, nil, replaces)
    }

    static func holds(_ match: Match, _ f: Facts) -> Bool {
        for condition in match.not?.conditions ?? [] where holds(Match([condition]), f) {
            return false
        }
        if let protocols = match.protocols, !protocols.contains(f.number) { return false }
        if let version = match.version, version != f.version { return false }
        func has(_ ranges: [AddressRange], _ address: UInt128) -> Bool {
            ranges.contains { $0.contains(address, isIPv6: f.version == 6) }
        }
        if let ranges = match.source, !has(ranges, f.source) { return false }
        if let ranges = match.destination, !has(ranges, f.destination) { return false }
        if let ranges = match.address, !has(ranges, f.source), !has(ranges, f.destination) {
            return false
        }
        if match.sourcePorts != nil || match.destinationPorts != nil || match.ports != nil {
            guard let (from, to) = f.ports else { return false }
            if let list = match.sourcePorts, !list.contains(where: { $0.contains(from) }) {
                return false
            }
            if let list = match.destinationPorts, !list.contains(where: { $0.contains(to) }) {
                return false
            }
            if let list = match.ports,
                !list.contains(where: { $0.contains(from) || $0.contains(to) })
            {
                return false
            }
        }
        if let list = match.endpoints, !list.contains(f.endpoint) { return false }
        if let wanted = match.tcpFlags {
            guard let flags = f.flags else { return false }
            if flags & wanted.set != wanted.set || flags & wanted.clear != 0 { return false }
        }
        if let wanted = match.icmp {
            guard let icmp = f.icmp else { return false }
            if let types = wanted.types, !types.contains(icmp.type) { return false }
            if let codes = wanted.codes, !codes.contains(icmp.code) { return false }
            if let every = wanted.sequenceEvery {
                let echoes: [UInt8] = f.version == 4 ? [0, 8] : [128, 129]
                if !echoes.contains(icmp.type) || icmp.sequence % every != 0 { return false }
            }
        }
        if let wanted = match.payload {
            if !wanted.strings.contains(where: { stands($0, in: f.payload, wanted.ignoresCase) }) {
                return false
            }
        }
        if let list = match.lengths, !list.contains(where: { $0.contains(UInt16(f.length)) }) {
            return false
        }
        if let wanted = match.ttl, !wanted.contains(f.ttl) { return false }
        if let wanted = match.dscp, !wanted.contains(f.dscp) { return false }
        switch match.fragment {
        case nil: return true
        case .first?: return f.kind == .first
        case .later?: return f.kind == .later
        case .any?: return f.kind != .whole
        case Optional.some(.none): return f.kind == .whole
        }
    }

    /// Byte by byte at every place.
    static func stands(_ string: [UInt8], in payload: [UInt8], _ ignoresCase: Bool) -> Bool {
        func fold(_ byte: UInt8) -> UInt8 {
            ignoresCase && 65 <= byte && byte <= 90 ? byte + 32 : byte
        }
        guard string.count <= payload.count else { return false }
        return (0...payload.count - string.count).contains { start in
            string.indices.allSatisfy { fold(payload[start + $0]) == fold(string[$0]) }
        }
    }

    /// Reads the whole outer packets that `RandomPacket` makes, unbroken ones only.
    static func facts(of packet: [UInt8]) -> Facts {
        var f = Facts()
        func u16(_ at: Int) -> UInt16 { UInt16(packet[at]) << 8 | UInt16(packet[at + 1]) }
        func number(_ at: Int, _ count: Int) -> UInt128 {
            packet[at..<at + count].reduce(0) { $0 << 8 | UInt128($1) }
        }
        f.endpoint = UInt64(number(40, 8))
        let inner = 36 + 12 + 12 + 8
        f.version = packet[inner] >> 4
        var transport = inner + 20
        if f.version == 4 {
            f.number = packet[inner + 9]
            f.ttl = packet[inner + 8]
            f.dscp = packet[inner + 1] >> 2
            f.source = number(inner + 12, 4)
            f.destination = number(inner + 16, 4)
            f.length = Int(u16(inner + 2))
            let field = u16(inner + 6)
            f.kind = field & 0x1FFF != 0 ? .later : field & 0x2000 != 0 ? .first : .whole
        } else {
            f.number = packet[inner + 6]
            f.ttl = packet[inner + 7]
            f.dscp = (packet[inner] << 4 | packet[inner + 1] >> 4) >> 2
            f.source = number(inner + 8, 16)
            f.destination = number(inner + 24, 16)
            f.length = 40 + Int(u16(inner + 4))
            transport = inner + 40
        }
        let end = inner + f.length
        guard f.kind != .later else { return f }
        if f.number == 17 || f.number == 6, end - transport >= 4 {
            f.ports = (u16(transport), u16(transport + 2))
        }
        switch f.number {
        case 17 where end - transport >= 8:
            let length = Int(u16(transport + 4))
            if length >= 8, length <= end - transport {
                f.payload = Array(packet[transport + 8..<transport + length])
                f.isReplaceable = f.kind == .whole
            } else if length >= 8, f.kind == .first {
                f.payload = Array(packet[transport + 8..<end])
            }
        case 6 where end - transport >= 20:
            f.flags = packet[transport + 13]
            let header = Int(packet[transport + 12] >> 4) * 4
            if header >= 20, header <= end - transport {
                f.payload = Array(packet[transport + header..<end])
            }
        case 1 where f.version == 4 && end - transport >= 8,
            58 where f.version == 6 && end - transport >= 8:
            f.icmp = (packet[transport], packet[transport + 1], u16(transport + 6))
        default: break
        }
        return f
    }
}

@Suite("Rules against a plain evaluator")
struct RulesModelTests {
    /// Few rules, a word full, more than one word, more than one summary word.
    @Test(arguments: [1, 3, 10, 64, 65, 200, 4200])
    func `compiled and plain evaluation agree on hits and verdicts`(rules: Int) throws {
        var generator = SeededGenerator(seed: UInt64(rules))
        let policies = rules > 1000 ? 1 : 30
        var decided = 0
        for _ in 0..<policies {
            let policy = RandomPolicy.make(&generator, rules: rules)
            let naive = NaiveRules(policy: policy)
            var bench = try RuleBench(policy)
            for _ in 0..<(rules > 1000 ? 60 : 100) {
                let packet = RandomPacket.make(&generator, isMarked: true)
                let before = (0..<rules).map { bench.snapshot.hits(rule: $0) }
                let outcome = bench.outcome(of: packet)
                let hits = (0..<rules).map { bench.snapshot.hits(rule: $0) > before[$0] }
                switch outcome {
                case .dropped(.rule)?, .dropped(.default)?, .forwarded?: break
                default:
                    // The parser or a replacement refused it: no rule decided.
                    continue
                }
                let facts = NaiveRules.facts(of: packet)
                let expected = naive.evaluate(facts)
                #expect(
                    hits == expected.hits,
                    "\(facts) \(rules < 4 ? policy.rules.map(\.match.conditions) : [])")
                switch expected.terminal {
                case .drop: #expect(outcome == .dropped(.rule))
                case nil where policy.dropsByDefault && facts.kind != .later:
                    #expect(outcome == .dropped(.default))
                default:
                    guard case .forwarded(let answer)? = outcome else {
                        Issue.record("not forwarded: \(facts)")
                        continue
                    }
                    let text = String(decoding: facts.payload, as: UTF8.self)
                    let rewrites =
                        expected.replaces && facts.isReplaceable && text.contains("weakly")
                    #expect((answer.count != packet.count) == rewrites)
                }
                if expected.terminal != nil { decided += 1 }
            }
        }
        #expect(decided > 20)
    }

    /// Longest-prefix lookups at the edges of every prefix, against the list of prefixes.
    @Test(arguments: [false, true])
    func `address tables agree with the list of prefixes`(isIPv6: Bool) throws {
        var generator = SeededGenerator(seed: 3)
        let width = isIPv6 ? 128 : 32
        let memory = TableMemory()
        for count in [1, 2, 20, 3000] {
            var lists: [[AddressRange]] = [[], [], []]
            for _ in 0..<count {
                let top = UInt128.random(in: 0...UInt128.max, using: &generator)
                let range = AddressRange(
                    isIPv6: isIPv6, address: top >> UInt128(128 - width),
                    length: Int.random(in: 0...width, using: &generator))
                lists[Int.random(in: 0..<3, using: &generator)].append(range)
            }
            var policy = Policy()
            for list in lists { policy.rules.append(rule("x", nil) { $0.source = list }) }
            let compiled = try CompiledPolicy(policy, firstHit: 0, workers: 1, memory)
            for range in lists.flatMap({ $0 }) {
                for address in [range.first, range.last, range.first &- 1, range.last &+ 1] {
                    let masked = address & (UInt128.max >> UInt128(128 - width))
                    let row = compiled.source.row(
                        IPv6Address(UInt64(masked >> 64), UInt64(truncatingIfNeeded: masked)),
                        isIPv6: isIPv6)
                    // Behind the summary, which is one word.
                    let bits = compiled.words[row + 1]
                    for bit in 0..<3 {
                        let list = lists[Int(compiled.order[bit])]
                        let isIn = list.contains { $0.contains(masked, isIPv6: isIPv6) }
                        #expect((bits >> UInt64(bit) & 1 == 1) == isIn)
                    }
                }
            }
        }
    }

    /// One prefix a rule: were the rules of every prefix written out, the tables would take 2 KiB
    /// for each of them.
    @Test func `tables do not grow with the square of the rules`() throws {
        func bytes(_ count: Int) throws -> Int {
            var policy = Policy()
            policy.rules = (0..<count).map { i in
                rule("\(i)", .drop) {
                    $0.source = [
                        AddressRange(isIPv6: false, address: UInt128(i) << 12, length: 24)
                    ]
                }
            }
            let memory = TableMemory()
            _ = try CompiledPolicy(policy, firstHit: 0, workers: 1, memory)
            return memory.byteCount
        }
        let few = try bytes(5000)
        let many = try bytes(15_000)
        #expect(many < few * 4)
        #expect(many < 15_000 * 1000)
    }

    @Test func `overlaps without end are refused in words`() throws {
        var policy = Policy()
        policy.rules = (0..<3000).map { i in
            rule("\(i)", .drop) { $0.ports = [UInt16(i)...UInt16(60_000 - i)] }
        }
        let memory = TableMemory()
        let error = #expect(throws: PolicyExcess.self) {
            _ = try CompiledPolicy(policy, firstHit: 0, workers: 1, memory, limit: 1 << 17)
        }
        #expect(
            error?.description == "the prefixes and ranges of the rules overlap in too many ways: "
                + "their tables would take more than 1 MiB; name them in fewer rules")
        _ = try CompiledPolicy(policy, firstHit: 0, workers: 1, memory)
    }
}
