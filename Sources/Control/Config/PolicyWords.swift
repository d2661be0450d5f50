import Dataplane
import Wire

/// A policy in plain words, for `sluice check`.
enum PolicyWords {
    static func describe(_ configuration: Configuration) -> [String] {
        let set = configuration.policy
        var main = set.main
        main.forwardsUndecodable = configuration.run.settings.forwardsUndecodable
        var lines = describe(
            main, title: set.endpoints.isEmpty ? "policy:" : "policy for all other endpoints:")
        for (endpoint, policy) in set.endpoints.sorted(by: { $0.key < $1.key }) {
            lines += describe(policy, title: "policy for \(EndpointID.format(endpoint)):")
        }
        return lines
    }

    private static func describe(_ policy: Policy, title: String) -> [String] {
        var lines = [title]
        for (index, rule) in policy.rules.enumerated() {
            lines.append("  \(index + 1). \(rule.name): \(describe(rule))")
        }
        if policy.dropsUnknownTCP {
            lines.append("  before the rules: drop TCP in mid-flow of which nothing was forwarded")
        }
        lines.append("  otherwise: \(policy.dropsByDefault ? "drop" : "forward")")
        switch policy.fragments {
        case .followFirst: lines.append("  later fragments: as the first of their packet")
        case .forward: lines.append("  later fragments that no rule decides: forward")
        case .drop: lines.append("  later fragments that no rule decides: drop")
        }
        let undecodable = policy.forwardsUndecodable ? "forward" : "drop"
        lines.append("  inner packets that cannot be decoded: \(undecodable)")
        return lines
    }

    static func describe(_ rule: Rule) -> String {
        let conditions = describe(rule.match)
        let when = conditions.isEmpty ? "every packet" : conditions.joined(separator: ", ")
        var actions = rule.isLogged ? ["log"] : []
        actions += rule.replacements.map { "replace \(quote($0.find)) by \(quote($0.with))" }
        switch rule.terminal {
        case .forward: actions.append("forward")
        case .drop: actions.append("drop")
        case nil: break
        }
        if actions.isEmpty { actions = ["count"] }
        let trial = rule.isDryRun ? " (dry run: only counted)" : ""
        return "\(when) -> \(actions.joined(separator: ", then "))\(trial)"
    }

    private static func describe(_ match: Match) -> [String] {
        var words: [String] = []
        func add(_ text: String?) { if let text { words.append(text) } }
        add(match.protocols.map { any($0.members.map(name)) })
        add(match.version.map { "IPv\($0)" })
        add(match.source.map { "from \(addresses($0))" })
        add(match.destination.map { "to \(addresses($0))" })
        add(match.address.map { "from or to \(addresses($0))" })
        add(match.sourcePorts.map { "source port \(numbers($0))" })
        add(match.destinationPorts.map { "destination port \(numbers($0))" })
        add(match.ports.map { "port \(numbers($0))" })
        add(match.endpoints.map { "endpoint \(any($0.map(EndpointID.format)))" })
        add(match.tcpFlags.map { flags($0) })
        add(match.icmp.map { icmp($0) })
        add(
            match.payload.map { payload in
                "payload contains \(any(payload.strings.map { quote($0) }))"
                    + (payload.ignoresCase ? " in any case" : "")
            })
        add(match.lengths.map { "length \(numbers($0))" })
        add(match.fragment.map { fragment($0) })
        switch match.flow {
        case .established: add("a flow that was forwarded in the other direction")
        case .new: add("a flow that was not forwarded in the other direction yet")
        case nil: break
        }
        add(match.sampleEvery.map { "the first packet of a flow and every \($0)th" })
        add(match.rate.map { rate($0) })
        return words
    }

    private static func any(_ list: [String]) -> String {
        let shown = list.prefix(8)
        let rest = list.count > shown.count ? " or \(list.count - shown.count) more" : ""
        return shown.joined(separator: " or ") + rest
    }

    static func name(_ number: UInt8) -> String {
        let names: [UInt8: String] = [
            17: "UDP", 6: "TCP", 1: "ICMP", 58: "ICMPv6", 132: "SCTP", 47: "GRE", 50: "ESP",
        ]
        return names[number] ?? "protocol \(number)"
    }

    private static func numbers(_ ranges: [ClosedRange<UInt16>]) -> String {
        any(ranges.map { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound)" })
    }

    private static func addresses(_ ranges: [AddressRange]) -> String {
        guard ranges.count <= 8 else { return "one of \(ranges.count) prefixes" }
        return any(
            ranges.map { range in
                let host = range.last - range.first
                let length = (range.isIPv6 ? 128 : 32) - (128 - host.leadingZeroBitCount)
                let address = AddressText.format(range.first, isIPv6: range.isIPv6)
                return host == 0 ? address : "\(address)/\(length)"
            })
    }

    private static func flags(_ flags: Match.TCPFlags) -> String {
        let names = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"]
        func list(_ bits: UInt8) -> String {
            names.indices.filter { bits >> UInt8($0) & 1 == 1 }.map { names[$0] }
                .joined(separator: " and ")
        }
        let set = flags.set == 0 ? nil : "with \(list(flags.set))"
        let clear = flags.clear == 0 ? nil : "without \(list(flags.clear))"
        return [set, clear].compactMap { $0 }.joined(separator: " ")
    }

    private static func icmp(_ icmp: Match.ICMP) -> String {
        var words: [String] = []
        func list(_ set: ByteSet) -> String { any(set.members.map { "\($0)" }) }
        if let types = icmp.types { words.append("ICMP type \(list(types))") }
        if let codes = icmp.codes { words.append("ICMP code \(list(codes))") }
        if let every = icmp.sequenceEvery {
            words.append("an echo sequence number that is a multiple of \(every)")
        }
        return words.joined(separator: ", ")
    }

    private static func fragment(_ fragment: Match.Fragment) -> String {
        switch fragment {
        case .first: "a first fragment"
        case .later: "a later fragment"
        case .any: "a fragment"
        case .none: "not a fragment"
        }
    }

    /// Bytes as the file may have them, at most so many.
    static func quote(_ bytes: [UInt8], limit: Int = .max) -> String {
        let text = bytes.prefix(limit).map { byte in
            switch byte {
            case UInt8(ascii: "\\"): "\\\\"
            case UInt8(ascii: "'"): "''"
            case 32..<127: String(UnicodeScalar(byte))
            default: "\\x" + (byte < 16 ? "0" : "") + String(byte, radix: 16)
            }
        }
        return "'\(text.joined())'\(bytes.count > limit ? "…" : "")"
    }
}

/// `sluice check`.
public enum ConfigCheck {
    /// The policy of a file in plain words. - Throws: every mistake.
    public static func describe(
        _ path: String, for processor: ProcessorShape = ProcessorShape(Rules.self)
    ) throws(ConfigErrors) -> [String] {
        let configuration = try ConfigFile.read(path, for: processor)
        guard processor.hasRules else { return ["\(path): valid"] }
        let rules = configuration.policy.rules.count
        return ["\(path): valid, \(rules) \(rules == 1 ? "rule" : "rules")"]
            + PolicyWords.describe(configuration) + [try MemoryWords.describe(configuration, path)]
            + (Advice.of(configuration.policy, mtu: configuration.run.settings.mtu)
            + Impossible.of(configuration.policy)
            + Shadows.of(configuration.policy)).map { "note: \($0)" }
    }
}
