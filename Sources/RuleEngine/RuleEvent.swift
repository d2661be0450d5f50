import Dataplane
import Wire

/// A packet that a rule with the action `log` matched.
public struct RuleEvent: BitwiseCopyable, Sendable {
    /// Of the snapshot, whose `ruleNames` has the rule's name.
    public var generation: UInt64
    public var rule: Int
    public var isDryRun: Bool
    public var endpoint: UInt64
    public var version: UInt8
    public var protocolNumber: UInt8
    public var source: IPv6Address
    public var destination: IPv6Address
    public var sourcePort: UInt16
    public var destinationPort: UInt16
    /// Inner IP packet, bytes.
    public var length: Int
}
