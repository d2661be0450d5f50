import Dataplane
import Wire

/// Rules whose conditions no packet can meet together.
enum Impossible {
    static func of(_ set: PolicySet) -> [String] {
        let own = Set(set.endpoints.keys)
        let main = set.main.rules.compactMap { rule in
            reason(rule) {
                own.contains($0) ? "every endpoint it names has a policy of its own" : nil
            }
        }
        let others = set.endpoints.sorted { $0.key < $1.key }.flatMap { endpoint, policy in
            policy.rules.compactMap { rule in
                reason(rule) { $0 == endpoint ? nil : "it stands in another endpoint's policy" }
            }
        }
        return main + others
    }

    /// - Parameter stranger: why packets of an endpoint do not come here; nil when they do.
    private static func reason(_ rule: Rule, _ stranger: (UInt64) -> String?) -> String? {
        let endpoints = rule.match.endpoints?.map(stranger) ?? []
        let elsewhere = endpoints.contains { $0 == nil } ? nil : endpoints.first ?? nil
        return (elsewhere ?? rule.match.contradiction).map {
            "rule \(rule.name) can never match: \($0)"
        }
    }
}

extension Match {
    /// The protocols that its conditions leave; nil = any.
    var possibleProtocols: ByteSet? {
        var left = protocols
        func need(_ numbers: [UInt8]) {
            left = ByteSet(numbers.filter { left?.contains($0) ?? true })
        }
        if ports != nil || sourcePorts != nil || destinationPorts != nil || payload != nil {
            need([IPProtocol.udp, IPProtocol.tcp])
        }
        if tcpFlags != nil { need([IPProtocol.tcp]) }
        if icmp != nil { need([IPProtocol.icmp, IPProtocol.icmpv6]) }
        return left
    }

    /// The IP versions that its conditions leave.
    var possibleVersions: Set<UInt8> {
        var left: Set<UInt8> = version.map { [$0] } ?? [4, 6]
        for ranges in [source, destination, address] {
            if let ranges { left.formIntersection(ranges.map { $0.isIPv6 ? 6 : 4 }) }
        }
        // ICMP belongs to IPv4, ICMPv6 to IPv6.
        if icmp != nil, let protocols = possibleProtocols {
            if !protocols.contains(IPProtocol.icmp) { left.remove(4) }
            if !protocols.contains(IPProtocol.icmpv6) { left.remove(6) }
        }
        return left
    }

    /// Why no packet meets all conditions; nil when one may.
    fileprivate var contradiction: String? {
        if let left = possibleProtocols, left.members.isEmpty {
            return "its conditions ask for different protocols"
        }
        if possibleVersions.isEmpty { return "its conditions ask for different IP versions" }
        if let source, let destination, let address,
            !Match.meet(source, address), !Match.meet(destination, address)
        {
            return "neither source nor destination has an address of address"
        }
        if let ports, let sourcePorts, let destinationPorts,
            !sourcePorts.contains(where: { a in ports.contains { $0.overlaps(a) } }),
            !destinationPorts.contains(where: { a in ports.contains { $0.overlaps(a) } })
        {
            return "neither source-port nor destination-port has a port of port"
        }
        if icmp?.sequenceEvery != nil, let types = icmp?.types {
            let echoes: [UInt8] =
                (possibleVersions.contains(4) ? [0, 8] : [])
                + (possibleVersions.contains(6) ? [128, 129] : [])
            if !echoes.contains(where: types.contains) {
                return "only echo messages have a sequence number, and its types are others"
            }
        }
        if let lengths, lengths.allSatisfy({ Int($0.upperBound) < shortest }) {
            return "a packet that has all this is at least \(shortest) bytes long"
        }
        return nil
    }

    private static func meet(_ a: [AddressRange], _ b: [AddressRange]) -> Bool {
        // Long lists of prefixes are not compared one by one.
        guard a.count * b.count <= 1 << 16 else { return true }
        return a.contains { a in
            b.contains { $0.isIPv6 == a.isIPv6 && $0.first <= a.last && a.first <= $0.last }
        }
    }

    /// Bytes of the shortest inner packet that can meet the conditions.
    private var shortest: Int {
        let header = possibleVersions.contains(4) ? 20 : 40
        if let payload {
            let isTCP = possibleProtocols?.contains(IPProtocol.udp) == false
            let text = payload.strings.map(\.count).min() ?? 0
            return header + (isTCP ? TCPHeader.minimumLength : UDPHeader.length) + text
        }
        if tcpFlags != nil { return header + TCPHeader.minimumLength }
        if icmp != nil { return header + 8 }
        let asksPorts = ports != nil || sourcePorts != nil || destinationPorts != nil
        return header + (asksPorts ? 4 : 0)
    }
}
