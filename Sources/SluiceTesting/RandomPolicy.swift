import RuleEngine
import SluiceCore

/// Policies over the values of `RandomPacket`, from few values that lie in each other, so that rules
/// often match and often cover each other.
package enum RandomPolicy {
    /// What one packet alone decides.
    package static let packetKeys = Match.Key.allCases.filter {
        $0 != .flow && $0 != .sample && $0 != .rate
    }

    /// - Parameter keys: those that its rules may ask for.
    package static func make(
        _ dice: inout some RandomNumberGenerator, rules count: Int,
        keys: [Match.Key] = packetKeys
    ) -> Policy {
        var policy = Policy()
        policy.dropsByDefault = Bool.random(using: &dice)
        policy.fragments = .forward
        policy.rules = (0..<count).map { rule("r\($0)", &dice, keys) }
        return policy
    }

    private static func rule(
        _ name: String, _ dice: inout some RandomNumberGenerator, _ keys: [Match.Key]
    ) -> Rule {
        var rule = Rule(name)
        rule.match = match(&dice, keys)
        switch Int.random(in: 0..<6, using: &dice) {
        case 0: rule.terminal = .forward
        case 1, 2, 3: rule.terminal = .drop
        case 4:
            rule.match.protocols = ByteSet([IPProtocol.udp])
            rule.replacements = [
                Replacement(find: Array("weakly".utf8), with: Array("strongly".utf8))
            ]
        default: break
        }
        rule.isDryRun = Int.random(in: 0..<8, using: &dice) == 0
        return rule
    }

    private static func match(
        _ dice: inout some RandomNumberGenerator, _ keys: [Match.Key]
    ) -> Match {
        var match = Match()
        for key in keys where Int.random(in: 0..<5, using: &dice) == 0 {
            match[key] = condition(key, &dice, keys)
        }
        return match
    }

    /// Nil where `not` would have no condition.
    private static func condition(
        _ key: Match.Key, _ dice: inout some RandomNumberGenerator, _ keys: [Match.Key]
    ) -> Match.Condition? {
        func one<T>(of values: [T]) -> T { values.randomElement(using: &dice)! }
        switch key {
        case .protocols:
            return .protocols(one(of: [[17], [6], [1], [58], [17, 6], [1, 58], [47]]))
        case .version: return .version(one(of: [4, 6]))
        case .source: return .source(addresses(&dice))
        case .destination: return .destination(addresses(&dice))
        case .address: return .address(addresses(&dice))
        case .sourcePorts: return .sourcePorts(ports(&dice))
        case .destinationPorts: return .destinationPorts(ports(&dice))
        case .ports: return .ports(ports(&dice))
        case .endpoints: return .endpoints(one(of: [[1], [1, 2], [2], [3], [4]]))
        case .tcpFlags:
            return .tcpFlags(
                Match.TCPFlags(set: one(of: [0, 2, 16, 18]), clear: one(of: [0, 4, 5])))
        case .icmp: return .icmp(icmp(&dice))
        case .payload:
            let texts = ["drop me", "me", "weakly", "DROP", "zz"].map { Array($0.utf8) }
            return .payload(
                Match.Payload([one(of: texts)], ignoresCase: Bool.random(using: &dice)))
        case .lengths:
            return .lengths(one(of: [[20...40, 60...61], [20...30, 31...60], [36...36]]))
        case .ttl:
            return .ttl(one(of: [[1], [64], [0, 2, 255], ByteSet(1...64), ByteSet(64...255)]))
        case .dscp: return .dscp(one(of: [[0], [46], [0, 8], ByteSet(9...63)]))
        case .fragment: return .fragment(one(of: [.first, .later, .any, Match.Fragment.none]))
        case .flow:
            return .flow(one(of: [.new, .established, .related, [.established, .related]]))
        case .sample: return .sample(one(of: [1, 2]))
        case .rate: return .rate(Match.Rate(packetsPerSecond: one(of: [1, 1000])))
        case .not:
            let allowed = keys.filter { !Match.Key.refusedInNot.contains($0) }
            let refused = match(&dice, allowed)
            return refused.conditions.isEmpty ? nil : .not(refused)
        }
    }

    private static func icmp(_ dice: inout some RandomNumberGenerator) -> Match.ICMP {
        var icmp = Match.ICMP()
        icmp.types = [nil, ByteSet([0, 8]), ByteSet([8, 3]), ByteSet([0, 8, 128]), ByteSet([3])]
            .randomElement(using: &dice)!
        icmp.sequenceEvery = [nil, 2, 3, 4].randomElement(using: &dice)!
        return icmp
    }

    private static func ports(
        _ dice: inout some RandomNumberGenerator
    ) -> [ClosedRange<UInt16>] {
        (0..<Int.random(in: 1...3, using: &dice)).map { _ in
            let a = RandomPacket.ports.randomElement(using: &dice)!
            let b = RandomPacket.ports.randomElement(using: &dice)!
            return Bool.random(using: &dice) ? a...a : min(a, b)...max(a, b)
        }
    }

    private static func addresses(_ dice: inout some RandomNumberGenerator) -> [AddressRange] {
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
        return (0..<Int.random(in: 1...3, using: &dice)).map { _ in
            all.randomElement(using: &dice)!
        }
    }
}
