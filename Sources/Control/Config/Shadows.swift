import Dataplane

/// Rules that no packet can reach, because an earlier rule has decided it already.
enum Shadows {
    /// More than so many rules are not compared with each other, nor longer lists item by item.
    private static let mostRules = 2000
    private static let mostItems = 64

    static func of(_ set: PolicySet) -> [String] {
        ([set.main] + set.endpoints.values).flatMap { of($0) }.sorted()
    }

    private static func of(_ policy: Policy) -> [String] {
        guard policy.rules.count <= mostRules else { return [] }
        let deciding = policy.rules.enumerated().filter {
            $0.element.terminal != nil && !$0.element.isDryRun
        }
        return policy.rules.enumerated().compactMap { index, rule in
            let earlier = deciding.first { other in
                other.offset < index && other.element.match.covers(rule.match)
            }
            return earlier.map {
                "rule \(rule.name) can never match: \($0.element.name) decides all its packets"
            }
        }
    }

    /// Every item of `inner` lies in one of `outer`; nil = everything.
    static func contains<T: Equatable>(
        _ outer: [T]?, _ inner: [T]?, _ isIn: (T, T) -> Bool
    ) -> Bool {
        guard let outer else { return true }
        guard let inner else { return false }
        if outer == inner { return true }
        guard outer.count <= mostItems, inner.count <= mostItems else { return false }
        return inner.allSatisfy { item in outer.contains { isIn(item, $0) } }
    }
}

extension Match {
    /// Every packet that `other` matches, this matches too. May say no where the answer is yes.
    fileprivate func covers(_ other: Match) -> Bool {
        // What depends on more than the packet covers nothing but itself.
        guard sampleEvery == nil, rate == nil, flow == nil || flow == other.flow,
            version == nil || version == other.version,
            fragment == nil || fragment == other.fragment,
            payload == nil || payload == other.payload
        else { return false }
        return coversHeaders(of: other) && coversLists(of: other)
    }

    private func coversHeaders(of other: Match) -> Bool {
        func covers(_ outer: ByteSet?, _ inner: ByteSet?) -> Bool {
            guard let outer else { return true }
            return inner?.members.allSatisfy { outer.contains($0) } ?? false
        }
        guard covers(protocols, other.protocols) else { return false }
        if let tcpFlags {
            guard let theirs = other.tcpFlags, tcpFlags.set & ~theirs.set == 0,
                tcpFlags.clear & ~theirs.clear == 0
            else { return false }
        }
        guard let icmp else { return true }
        guard let theirs = other.icmp, covers(icmp.types, theirs.types),
            covers(icmp.codes, theirs.codes)
        else { return false }
        guard let every = icmp.sequenceEvery else { return true }
        return theirs.sequenceEvery.map { $0 % every == 0 } ?? false
    }

    private func coversLists(of other: Match) -> Bool {
        func numbers(_ outer: [ClosedRange<UInt16>]?, _ inner: [ClosedRange<UInt16>]?) -> Bool {
            Shadows.contains(outer, inner) {
                $1.lowerBound <= $0.lowerBound && $0.upperBound <= $1.upperBound
            }
        }
        func addresses(_ outer: [AddressRange]?, _ inner: [AddressRange]?) -> Bool {
            Shadows.contains(outer, inner) {
                $0.isIPv6 == $1.isIPv6 && $1.first <= $0.first && $0.last <= $1.last
            }
        }
        return numbers(sourcePorts, other.sourcePorts)
            && numbers(destinationPorts, other.destinationPorts) && numbers(ports, other.ports)
            && numbers(lengths, other.lengths) && addresses(source, other.source)
            && addresses(destination, other.destination) && addresses(address, other.address)
            && Shadows.contains(endpoints, other.endpoints) { $0 == $1 }
    }
}
