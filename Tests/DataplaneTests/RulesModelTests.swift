import PacketIO
import SluiceTesting
import Testing
import Wire

@testable import Dataplane

/// Inner packets of every kind that rules look at, from few values, so that rules often match.
enum RandomPacket {
    static let texts = [
        "drop me", "weakly typed", "hello", "xxDROP ME", "weakly typed drop me", "",
    ]
    static let ports: [UInt16] = [0, 53, 80, 443, 1000, 3000, 40_000, 65_535]

    /// - Parameter isMarked: with a TTL and a DSCP of their own.
    static func make(
        _ generator: inout some RandomNumberGenerator, isMarked: Bool = false
    ) -> [UInt8] {
        var inner = inner(&generator)
        if isMarked { mark(&inner, &generator) }
        var packet = PacketBuilder(inner)
        packet.options[0] = .endpoint(UInt64.random(in: 1...4, using: &generator))
        var bytes = packet.bytes()
        // Some are broken in one byte, anywhere.
        if Int.random(in: 0..<16, using: &generator) == 0 {
            let at = Int.random(in: 28..<bytes.count, using: &generator)
            bytes[at] = UInt8.random(in: 0...255, using: &generator)
        }
        return bytes
    }

    private static func inner(_ generator: inout some RandomNumberGenerator) -> [UInt8] {
        let text = Array(texts.randomElement(using: &generator)!.utf8)
        let source = ports.randomElement(using: &generator)!
        let destination = ports.randomElement(using: &generator)!
        let from = address(&generator)
        let to = address(&generator)
        let type = [0, 8, 3, 11, 128, 129].randomElement(using: &generator)! as UInt8
        let sequence = UInt16.random(in: 0...12, using: &generator)
        switch Int.random(in: 0..<9, using: &generator) {
        case 0, 1:
            return PacketBuilder.udp4(source, destination, text, source: from, destination: to)
        case 2:
            let flags = UInt8.random(in: 0...31, using: &generator)
            return PacketBuilder.tcp4(
                source, destination, text, flags: flags, source: from, destination: to)
        case 3: return PacketBuilder.icmp4(type: type, code: 0, sequence: sequence)
        case 4: return PacketBuilder.icmp6(type: type, sequence: sequence)
        case 5: return PacketBuilder.udp6(source, destination, text)
        case 6:
            return PacketBuilder.udp4(
                source, destination, text, flagsAndOffset: 0x2000, source: from, destination: to)
        case 7:
            return PacketBuilder.ipv4(
                source: from, destination: to, protocolNumber: 17, text,
                identification: UInt16.random(in: 0...3, using: &generator),
                flagsAndOffset: 0x0002)
        default:
            let number = [47, 50, 132, 6, 17].randomElement(using: &generator)! as UInt8
            return PacketBuilder.ipv4(
                source: from, destination: to, protocolNumber: number, text)
        }
    }

    /// Gives the inner packet one of few TTLs, and of few DSCPs with any ECN bits.
    private static func mark(_ inner: inout [UInt8], _ generator: inout some RandomNumberGenerator)
    {
        let ttl = [0, 1, 2, 64, 255].randomElement(using: &generator)! as UInt8
        let ecn = UInt8.random(in: 0...3, using: &generator)
        let service = ([0, 8, 46, 63].randomElement(using: &generator)! as UInt8) << 2 | ecn
        guard inner[0] >> 4 == 4 else {
            inner[0] = 6 << 4 | service >> 4
            inner[1] = service << 4 | inner[1] & 0x0F
            inner[7] = ttl
            return
        }
        inner[1] = service
        inner[8] = ttl
        inner[10] = 0
        inner[11] = 0
        var sum = stride(from: 0, to: 20, by: 2).reduce(0) {
            $0 + (Int(inner[$1]) << 8 | Int(inner[$1 + 1]))
        }
        while sum > 0xFFFF { sum = sum >> 16 + sum & 0xFFFF }
        inner[10] = UInt8(~sum >> 8 & 0xFF)
        inner[11] = UInt8(~sum & 0xFF)
    }

    private static func address(_ generator: inout some RandomNumberGenerator) -> UInt32 {
        [0x0A00_0001, 0x0A00_0101, 0xC0A8_0101, 0xC0A8_01FE, 0xFFFF_FFFF, 0]
            .randomElement(using: &generator)!
    }
}

/// Policies over the same values.
enum RandomPolicy {
    static func make(
        _ generator: inout some RandomNumberGenerator, rules: Int
    ) -> Policy {
        var policy = Policy()
        policy.dropsByDefault = Bool.random(using: &generator)
        policy.fragments = .forward
        for i in 0..<rules { policy.rules.append(rule(i, &generator)) }
        return policy
    }

    private static func rule(_ i: Int, _ generator: inout some RandomNumberGenerator) -> Rule {
        var rule = Rule("\(i)")
        rule.match = match(&generator)
        switch Int.random(in: 0..<5, using: &generator) {
        case 0: rule.terminal = .forward
        case 1: rule.terminal = .drop
        case 2:
            rule.match.protocols = ByteSet([17])
            rule.replacements = [
                Replacement(find: Array("weakly".utf8), with: Array("strongly".utf8))
            ]
        default: break
        }
        rule.isDryRun = Int.random(in: 0..<8, using: &generator) == 0
        return rule
    }

    private static func match(_ generator: inout some RandomNumberGenerator) -> Match {
        var match = conditions(&generator)
        if Int.random(in: 0..<4, using: &generator) == 0 {
            var refused = conditions(&generator)
            refused.payload = nil
            match.not = refused
        }
        return match
    }

    private static func conditions(_ generator: inout some RandomNumberGenerator) -> Match {
        var match = Match()
        func some() -> Bool { Int.random(in: 0..<5, using: &generator) == 0 }
        if some() {
            match.protocols = ByteSet(
                [[17], [6], [1], [58], [17, 6], [47]].randomElement(using: &generator)!)
        }
        if some() { match.version = Bool.random(using: &generator) ? 4 : 6 }
        if some() { match.source = ranges(&generator) }
        if some() { match.destination = ranges(&generator) }
        if some() { match.address = ranges(&generator) }
        if some() { match.sourcePorts = ports(&generator) }
        if some() { match.destinationPorts = ports(&generator) }
        if some() { match.ports = ports(&generator) }
        if some() { match.endpoints = [UInt64.random(in: 1...4, using: &generator)] }
        if some() {
            match.tcpFlags = Match.TCPFlags(
                set: UInt8.random(in: 0...31, using: &generator) & 0b1_0010, clear: 0b101)
        }
        if some() {
            match.icmp = Match.ICMP()
            if Bool.random(using: &generator) { match.icmp?.types = ByteSet([0, 8, 128]) }
            if Bool.random(using: &generator) { match.icmp?.sequenceEvery = 3 }
        }
        if some() {
            match.payload = Match.Payload(
                [Array(["drop me", "weakly", "zz"].randomElement(using: &generator)!.utf8)],
                ignoresCase: Bool.random(using: &generator))
        }
        if some() { match.lengths = [20...40, 60...61] }
        if some() {
            match.ttl = [[1], [0, 2, 255], ByteSet(64...255)].randomElement(using: &generator)!
        }
        if some() {
            match.dscp = [[46], [0, 8], ByteSet(9...63)].randomElement(using: &generator)!
        }
        if some() {
            match.fragment =
                [.first, .later, .any, Match.Fragment.none].randomElement(using: &generator)!
        }
        return match
    }

    private static func ports(
        _ generator: inout some RandomNumberGenerator
    ) -> [ClosedRange<UInt16>] {
        (0..<Int.random(in: 1...3, using: &generator)).map { _ in
            let a = RandomPacket.ports.randomElement(using: &generator)!
            let b = RandomPacket.ports.randomElement(using: &generator)!
            return Bool.random(using: &generator) ? a...a : min(a, b)...max(a, b)
        }
    }

    private static func ranges(_ generator: inout some RandomNumberGenerator) -> [AddressRange] {
        let all = [
            AddressRange(isIPv6: false, address: 0x0A00_0000, length: 8),
            AddressRange(isIPv6: false, address: 0x0A00_0100, length: 24),
            AddressRange(isIPv6: false, address: 0x0A00_0001, length: 32),
            AddressRange(isIPv6: false, address: 0xC0A8_0100, length: 25),
            AddressRange(isIPv6: false, address: 0, length: 0),
            AddressRange(isIPv6: false, address: 0xFFFF_FFFF, length: 32),
            AddressRange(isIPv6: true, address: 0xFD << 120, length: 8),
            AddressRange(isIPv6: true, address: 0xFD << 120 | 1, length: 128),
            AddressRange(isIPv6: true, address: 0, length: 0),
        ]
        return (0..<Int.random(in: 1...3, using: &generator)).map { _ in
            all.randomElement(using: &generator)!
        }
    }
}

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
