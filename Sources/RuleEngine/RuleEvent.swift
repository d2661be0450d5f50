import Dataplane
import Wire

/// A packet that a rule with the action `log` matched.
public struct RuleEvent: BitwiseCopyable, Sendable {
    /// Of the snapshot, whose `ruleNames` has the rule's name.
    public var generation: UInt64
    public var rule: Int
    /// What the rule does, or in earnest would do.
    public var action: Action
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
    /// 0 without TCP.
    public var tcpFlags: UInt8
    /// Type and code of ICMP; -1 without.
    public var icmp: Int32

    public enum Action: UInt8, BitwiseCopyable, Sendable { case none, forward, drop }
}
