import Dataplane

/// Rules in order; the first terminal action decides a packet, else the default.
public struct Policy: Equatable, Sendable {
    /// What becomes of a later fragment that no rule decides: only the first fragment has ports
    /// and payload.
    public enum Fragments: UInt8, Equatable, BitwiseCopyable, Sendable {
        /// As the first fragment of its packet fared; before that has come, the default.
        case followFirst
        case forward, drop
    }

    public var dropsByDefault = false
    /// TCP packets in mid-flow of which no packet was forwarded yet are dropped; else rules decide.
    public var dropsUnknownTCP = false
    /// Inner packets that cannot be decoded pass. Of an endpoint's own policy; for all others the
    /// settings say it.
    public var forwardsUndecodable = false
    public var fragments = Fragments.followFirst
    public var rules: [Rule] = []

    public init() {}

    var needsWholeFlows: String? {
        let asking = rules.compactMap { rule in
            (rule.match.conditions + (rule.match.not?.conditions ?? []))
                .first { $0.key != .not && $0.needs.wholeFlows }.map { (rule.name, $0.key) }
        }
        if let (name, key) = asking.min(by: { $0.1 < $1.1 }) {
            return "\(key.rawValue) (rule '\(name)')"
        }
        if dropsUnknownTCP { return "on-unknown-tcp: drop" }
        return fragments == .followFirst ? "fragments: follow-first, the default" : nil
    }
}
