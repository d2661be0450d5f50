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

    /// Neighbouring ranges as one.
    static func merged(_ ranges: [ClosedRange<UInt16>]) -> [ClosedRange<UInt16>] {
        var result: [ClosedRange<UInt16>] = []
        for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
            if let last = result.last, Int(range.lowerBound) <= Int(last.upperBound) + 1 {
                result[result.count - 1] = last.lowerBound...max(last.upperBound, range.upperBound)
            } else {
                result.append(range)
            }
        }
        return result
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
        // What depends on more than the packet covers nothing, a flow's state only itself.
        guard !asksMoreThanPackets, flow == nil || flow == other.flow else { return false }
        return coversHeaders(of: other) && coversPayload(of: other) && coversLists(of: other)
    }

    /// It has a condition that is none of those looked at here, such as a rate.
    private var asksMoreThanPackets: Bool {
        var rest = self
        rest.protocols = nil
        rest.version = nil
        rest.source = nil
        rest.destination = nil
        rest.address = nil
        rest.sourcePorts = nil
        rest.destinationPorts = nil
        rest.ports = nil
        rest.endpoints = nil
        rest.tcpFlags = nil
        rest.icmp = nil
        rest.payload = nil
        rest.lengths = nil
        rest.fragment = nil
        rest.flow = nil
        return rest != Match()
    }

    private func coversHeaders(of other: Match) -> Bool {
        func covers(_ outer: ByteSet?, _ inner: ByteSet?) -> Bool {
            guard let outer else { return true }
            return inner?.members.allSatisfy { outer.contains($0) } ?? false
        }
        guard covers(protocols, other.possibleProtocols) else { return false }
        if let version, !other.possibleVersions.isSubset(of: [version]) { return false }
        switch (fragment, other.fragment) {
        case (nil, _), (.any, .first), (.any, .later): break
        case (let mine, let theirs): guard mine == theirs else { return false }
        }
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

    /// Each of the other's strings holds one of ours.
    private func coversPayload(of other: Match) -> Bool {
        guard let payload else { return true }
        guard let theirs = other.payload else { return false }
        if payload == theirs { return true }
        // What is found in any case need not be found in this one.
        guard payload.ignoresCase || !theirs.ignoresCase else { return false }
        func folded(_ string: [UInt8]) -> [UInt8] {
            payload.ignoresCase ? string.map { $0 &- 0x41 < 26 ? $0 | 0x20 : $0 } : string
        }
        let mine = payload.strings.map(folded)
        return Shadows.contains(mine, theirs.strings.map(folded)) { theirs, mine in
            theirs.firstRange(of: mine) != nil
        }
    }

    private func coversLists(of other: Match) -> Bool {
        func numbers(_ outer: [ClosedRange<UInt16>]?, _ inner: [ClosedRange<UInt16>]?) -> Bool {
            Shadows.contains(outer.map(Shadows.merged), inner) {
                $1.lowerBound <= $0.lowerBound && $0.upperBound <= $1.upperBound
            }
        }
        func addresses(_ outer: [AddressRange]?, _ inner: [AddressRange]?) -> Bool {
            Shadows.contains(outer, inner) {
                $0.isIPv6 == $1.isIPv6 && $1.first <= $0.first && $0.last <= $1.last
            }
        }
        return numbers(sourcePorts, other.sourcePorts)
            && numbers(destinationPorts, other.destinationPorts)
            && [other.ports, other.sourcePorts, other.destinationPorts]
                .contains { numbers(ports, $0) }
            && numbers(lengths, other.lengths) && addresses(source, other.source)
            && addresses(destination, other.destination)
            && [other.address, other.source, other.destination]
                .contains { addresses(address, $0) }
            && Shadows.contains(endpoints, other.endpoints) { $0 == $1 }
    }
}
