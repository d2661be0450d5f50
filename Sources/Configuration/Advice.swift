import Dataplane
import RuleEngine
import Wire

/// What a reader of a valid policy should know about its rules.
package enum Advice {
    /// - Parameter mtu: the largest inner packet sent after a rewrite.
    package static func of(_ set: PolicySet, mtu: Int) -> [String] {
        set.rules.flatMap { rule in
            [onePacket(rule), oneVersion(rule), eitherEnd(rule)].compactMap { $0 }
                + addresses(of: rule) + characters(of: rule) + replacements(of: rule, mtu: mtu)
        } + set.policies.compactMap(errors)
    }

    /// Payload is that of one packet.
    private static func onePacket(_ rule: Rule) -> String? {
        let protocols = rule.match.needs.protocols
        let asksPayload = rule.match.payload != nil
        let name = "rule \(rule.name): payload is matched packet by packet"
        if asksPayload || !rule.replacements.isEmpty, protocols.contains(IPProtocol.tcp) {
            return "\(name): a text that is split over TCP segments is not found"
                + (protocols.contains(IPProtocol.udp) ? ", nor one in later fragments" : "")
        }
        guard asksPayload, protocols.contains(IPProtocol.udp) else { return nil }
        return "\(name): of a datagram in fragments only the first is searched"
    }

    /// ICMP without ICMPv6, where nothing else asks for IPv4.
    private static func oneVersion(_ rule: Rule) -> String? {
        let match = rule.match
        guard let protocols = match.protocols, protocols.contains(IPProtocol.icmp),
            !protocols.contains(IPProtocol.icmpv6), match.version == nil, match.source == nil,
            match.destination == nil, match.address == nil
        else { return nil }
        return "rule \(rule.name): icmp is that of IPv4 alone: of IPv6 it is icmpv6"
    }

    /// Two keys of which each asks for either end.
    private static func eitherEnd(_ rule: Rule) -> String? {
        guard rule.match.address != nil, rule.match.ports != nil else { return nil }
        return
            "rule \(rule.name): address and port bind apart: the address may be one end's and the "
            + "port the other's: source goes with source-port, destination with destination-port"
    }

    /// A firewall that keeps state, without the errors that tell hosts of a smaller MTU.
    private static func errors(_ policy: Policy) -> String? {
        let forwarding = policy.rules.filter { $0.terminal == .forward && !$0.isDryRun }
        func isOfFlow(_ rule: Rule) -> Bool {
            rule.match.flow == .established || rule.match.flow == .new
        }
        guard policy.dropsByDefault,
            let rule = forwarding.first(where: { $0.match.flow == .established }),
            !forwarding.contains(where: {
                !isOfFlow($0) && $0.match.needs.protocols.contains(IPProtocol.icmp)
            })
        else { return nil }
        return "rule \(rule.name): default: drop also drops ICMP errors about flows that are "
            + "established, such as fragmentation needed: forward those too, or large packets vanish"
    }

    /// What looks like all addresses, or like an address of the other version, and is not.
    private static func addresses(of rule: Rule) -> [String] {
        let mapped = AddressRange(isIPv6: true, address: 0xFFFF << 32, length: 96)
        let allOfIPv4 = AddressRange(isIPv6: false, address: 0, length: 0)
        var notes: [String] = []
        for ranges in [rule.match.source, rule.match.destination, rule.match.address] {
            guard let ranges else { continue }
            if ranges.contains(where: {
                $0.isIPv6 && mapped.first <= $0.first && $0.last <= mapped.last
            }) {
                notes.append(
                    "rule \(rule.name): ::ffff:a.b.c.d never is an IPv4 packet: write a.b.c.d")
            }
            if ranges.contains(allOfIPv4), !ranges.contains(where: \.isIPv6) {
                notes.append("rule \(rule.name): 0.0.0.0/0 is all of IPv4 and none of IPv6")
            }
        }
        return notes
    }

    /// Texts with characters that somebody may have meant as bytes: "\xff" in double quotes is
    /// YAML's escape of a character, which has two bytes in UTF-8.
    private static func characters(of rule: Rule) -> [String] {
        let texts = (rule.match.payload?.strings ?? []) + rule.replacements.map(\.find)
        let text = texts.first { bytes in
            String(validating: bytes, as: UTF8.self)?.unicodeScalars
                .contains { (0x80...0xFF).contains($0.value) } ?? false
        }
        let ignoresCase = rule.match.payload.map { payload in
            payload.ignoresCase && payload.strings.contains { $0.contains { $0 >= 0x80 } }
        }
        let notes =
            ignoresCase == true
            ? [
                "rule \(rule.name): ignore-case is for ASCII letters: all others are found as written"
            ]
            : []
        guard let text else { return notes }
        return notes + [
            "rule \(rule.name): characters beyond ASCII are looked for as UTF-8, here "
                + "\(Words.quote(text, limit: 40)): for a byte write \\xHH in single quotes"
        ]
    }

    private static func replacements(of rule: Rule, mtu: Int) -> [String] {
        guard !rule.replacements.isEmpty else { return [] }
        let name = "rule \(rule.name)"
        if rule.terminal == .drop {
            return ["\(name): its replace has no effect: the same rule drops the packet"]
        }
        var notes: [String] = []
        for replacement in rule.replacements where replacement.find == replacement.with {
            notes.append("\(name): replaces \(Words.quote(replacement.find)) by itself")
        }
        for replacement in rule.replacements {
            let growth = replacement.with.count - replacement.find.count
            guard growth > 0 else { continue }
            let text = Words.quote(replacement.find, limit: 40)
            if tooLong(rule.match, replacement, mtu: mtu) {
                notes.append(
                    "\(name): what replaces \(text) cannot fit: every such packet would be longer "
                        + "than mtu, \(mtu) bytes, and is dropped (too_big)")
            } else {
                notes.append(
                    "\(name): each \(text) adds \(growth) \(growth == 1 ? "byte" : "bytes"): a "
                        + "packet that grows beyond mtu, \(mtu) bytes, is dropped (too_big)")
            }
        }
        return notes
    }

    /// Even the shortest packet in which it can stand grows beyond `mtu`.
    private static func tooLong(_ match: Match, _ replacement: Replacement, mtu: Int) -> Bool {
        let header = match.needs.possibleVersions.contains(4) ? 20 : 40
        let found = header + UDPHeader.length + replacement.find.count
        let shortest = match.lengths?.map { Int($0.lowerBound) }.min() ?? 0
        return max(found, shortest) + replacement.with.count - replacement.find.count > mtu
    }
}
