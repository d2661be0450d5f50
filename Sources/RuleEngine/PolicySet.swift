import Dataplane

/// What an operator wants, in plain values: the policy for all endpoints, and those of their own
/// that some have. `PolicySnapshot` compiles it into tables.
public struct PolicySet: Equatable, Sendable {
    public var main = Policy()
    /// By endpoint id: these packets see their own policy instead of `main`.
    public var endpoints: [UInt64: Policy] = [:]
    /// Lines a second that the action log writes of each rule, at most.
    public var logLines = 10

    public init() {}

    /// All rules, those of `main` first, then by endpoint id: the order of the hit counters.
    public var rules: [Rule] { policies.flatMap(\.rules) }

    /// What needs all packets of a flow on one worker, by the names of the file; nil = nothing.
    public var needsWholeFlows: String? {
        policies.lazy.compactMap(\.needsWholeFlows).first
    }

    /// `main`, then the others by endpoint id.
    public var policies: [Policy] { [main] + endpoints.sorted { $0.key < $1.key }.map(\.value) }
}
