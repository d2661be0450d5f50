import RuleEngine
import SluiceCore

/// Policies and payloads to measure, the same at every run.
public enum RuleMix {
    /// Of ten rules four name ports, three prefixes, one an endpoint, one flags, one a string. None
    /// matches what `packet` makes.
    public static func policy(rules count: Int) -> Policy {
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
            default: rule.match.payload = Match.Payload([string(&generator)])
            }
            policy.rules.append(rule)
        }
        return policy
    }

    /// One rule with `count` random prefixes of IPv4; with none, one that asks for a port.
    public static func policy(prefixes count: Int) -> Policy {
        var generator = SplitMix64(seed: 42)
        var rule = Rule("set")
        rule.terminal = .drop
        if count > 0 {
            rule.match.source = (0..<count).map { _ in prefix(&generator) }
        } else {
            rule.match.ports = [4999...4999]
        }
        var policy = Policy()
        policy.rules = [rule]
        return policy
    }

    /// One rule for each string.
    public static func policy(strings: [[UInt8]]) -> Policy {
        var policy = Policy()
        policy.rules = strings.enumerated().map { i, string in
            var rule = Rule("\(i)")
            rule.terminal = .drop
            rule.match.payload = Match.Payload([string])
            return rule
        }
        return policy
    }

    /// Words of 6 to 20 small letters, as often as English has them.
    public static func words(_ count: Int) -> [[UInt8]] {
        var generator = SplitMix64(seed: 7)
        return (0..<count).map { _ in
            letters(Int.random(in: 6...20, using: &generator), &generator)
        }
    }

    /// Text of the same letters, in which none of `words` stands but by chance.
    public static func text(_ count: Int) -> [UInt8] {
        var generator = SplitMix64(seed: 8)
        var text: [UInt8] = []
        while text.count < count {
            text += letters(Int.random(in: 2...9, using: &generator), &generator) + [32]
        }
        return Array(text.prefix(count))
    }

    /// All but the last byte of one string after the other, a zero between, up to `count` bytes.
    public static func beginnings(of strings: [[UInt8]], _ count: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        var next = 0
        while bytes.count < count {
            bytes += strings[next % strings.count].dropLast() + [0]
            next += 1
        }
        return Array(bytes.prefix(count))
    }

    /// Strings and a payload that lead furthest astray: of one byte over and over, another last.
    public static func deceptive(_ count: Int) -> [[UInt8]] {
        (0..<count).map { [UInt8](repeating: 97, count: 8 + $0 % 500) + [98 + UInt8($0 % 25)] }
    }

    private static func letters(_ count: Int, _ generator: inout SplitMix64) -> [UInt8] {
        let often = Array("eeeeeeeetttttaaaaoooooiiiinnnnsssshhhrrrdddlllcuumwfgypbvk".utf8)
        return (0..<count).map { _ in often.randomElement(using: &generator)! }
    }

    private static func string(_ generator: inout SplitMix64) -> [UInt8] {
        (0..<12).map { _ in UInt8.random(in: 65...90, using: &generator) }
    }

    /// The address of a packet, one of 64 all over IPv4: lookups end in many places.
    public static func source(_ packet: Int) -> UInt32 {
        0x0101_0101 &+ UInt32(packet & 63) &* 0x03D0_4C35
    }

    /// None with an address of `source`.
    private static func prefix(_ generator: inout SplitMix64) -> AddressRange {
        while true {
            let length = Int.random(in: 20...32, using: &generator)
            let address = UInt32(truncatingIfNeeded: generator.next())
            if spared[Int(address >> 12)] { continue }
            return AddressRange(isIPv6: false, address: UInt128(address), length: length)
        }
    }

    private static let spared = {
        var spared = [Bool](repeating: false, count: 1 << 20)
        for packet in 0..<64 { spared[Int(source(packet) >> 12)] = true }
        return spared
    }()
}
