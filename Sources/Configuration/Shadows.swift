import Dataplane
import RuleEngine

/// Rules that no packet can reach, because an earlier rule has decided it already.
package enum Shadows {
    /// More rules are not compared with each other, nor longer lists item by item.
    private static let mostRules = 2000
    private static let mostItems = 64

    package static func of(_ set: PolicySet) -> [String] {
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
    private static func merged(_ ranges: [ClosedRange<UInt16>]) -> [ClosedRange<UInt16>] {
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

    /// Every number of `inner` lies in `outer`; nil = every number there is.
    static func contains(_ outer: [ClosedRange<UInt16>], _ inner: [ClosedRange<UInt16>]?) -> Bool {
        contains(merged(outer), inner) {
            $1.lowerBound <= $0.lowerBound && $0.upperBound <= $1.upperBound
        }
    }

    /// Every item of `inner` lies in one of `outer`; nil = everything.
    static func contains<T: Equatable>(
        _ outer: [T], _ inner: [T]?, _ isIn: (T, T) -> Bool
    ) -> Bool {
        guard let inner else { return false }
        if outer == inner { return true }
        guard outer.count <= mostItems, inner.count <= mostItems else { return false }
        return inner.allSatisfy { item in outer.contains { isIn(item, $0) } }
    }
}
