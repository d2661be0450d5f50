import Dataplane
import PacketIO

/// The buckets of one rule, kept over generations as long as rule and limit stay the same: a reload
/// hands out no fresh burst.
@safe final class RateMemory: @unchecked Sendable {
    let rule: String
    let rate: Match.Rate
    let limit: RateLimit
    let byteCount: Int

    /// - Parameter flowIndex: which of a flow's own buckets, with `per: flow`.
    /// - Throws: ENOMEM.
    init(_ rule: String, _ rate: Match.Rate, flowIndex: Int, workers: Int) throws(IOFailure) {
        self.rule = rule
        self.rate = rate
        limit = try RateLimit(rate, flowIndex: flowIndex, workers: workers)
        byteCount = limit.byteCount
    }

    deinit { limit.free() }

    /// The memory of every rule with a limit, in the order of the rules of the policies; what
    /// `earlier` has of the same rule and limit is used further.
    static func of(
        _ policies: [Policy], workers: Int, earlier: [RateMemory]
    ) throws(IOFailure) -> [RateMemory] {
        var result: [RateMemory] = []
        var left = earlier
        for policy in policies {
            var flowLimits = 0
            for rule in policy.rules {
                guard let rate = rule.match.rate else { continue }
                let flowIndex = flowLimits
                if rate.per == .flow { flowLimits += 1 }
                precondition(flowLimits <= Policy.flowLimitCapacity, "too many limits per flow")
                let known = left.firstIndex {
                    $0.rule == rule.name && $0.rate == rate && $0.limit.workers == workers
                        && (rate.per != .flow || $0.limit.flowIndex == flowIndex)
                }
                if let known {
                    result.append(left.remove(at: known))
                } else {
                    result.append(
                        try RateMemory(
                            rule.name, rate, flowIndex: flowIndex, workers: workers))
                }
            }
        }
        return result
    }
}

extension Policy {
    /// Rules of one policy that may limit per flow: the buckets that a flow has.
    public static let flowLimitCapacity = 4
}

extension PolicySet {
    /// Bytes that the buckets of all limits take per worker.
    public var rateBytesPerWorker: Int {
        rules.reduce(0) { $0 + ($1.match.rate.map { RateLimit.byteCount($0.per) } ?? 0) }
    }
}
