/// What becomes of a packet.
public enum Verdict: Equatable, BitwiseCopyable, Sendable {
    /// Send it back to the load balancer.
    case forward
    /// Send nothing.
    case drop(DropReason)

    /// Send nothing, because a user's processor said so.
    @inlinable public static var drop: Verdict { .drop(.processor) }
}

/// Why a packet was dropped: one closed list, in metrics and in code. Every received packet that
/// is not forwarded is counted under exactly one of these.
public enum DropReason: UInt8, CaseIterable, BitwiseCopyable, Sendable {
    /// Outer IPv4 or UDP header: version, lengths.
    case outerMalformed
    /// Outer header checksum, or outer UDP checksum where it is verified.
    case outerChecksum
    /// The sender is not in `allow-sources`.
    case sourceNotAllowed
    /// The Geneve header or its options do not fit (RFC 8926 §3.4, §3.5).
    case geneveMalformed
    /// A Geneve version other than 0 (RFC 8926 §3.4).
    case geneveVersion
    /// A Geneve control packet: the O bit (RFC 8926 §3.4).
    case geneveControl
    /// A critical option that we do not know (RFC 8926 §3.5.1).
    case geneveCriticalOption
    /// A protocol type other than IPv4 and IPv6, or not the one inside.
    case geneveProtocol
    /// An AWS option is missing, came twice or has another length.
    case awsOptions
    /// The inner IP header or extension chain cannot be.
    case innerMalformed
    /// A rewrite was due, but the inner IPv4 header checksum is wrong.
    case innerHeaderChecksum
    /// A rule said so.
    case rule
    /// No rule matched, and the default is to drop.
    case `default`
    /// A user's processor said so.
    case processor
    /// Fragment tracking said so.
    case fragment
    /// A TCP packet in mid-flow without state.
    case unknownTCP
    /// No room in the flow table, and the policy is to drop then.
    case flowTableFull
    /// Longer than a slot, or longer than the MTU after a rewrite.
    case tooBig
    /// The kernel refused to send it.
    case send

    /// The value of the `reason` label.
    public var label: String {
        switch self {
        case .outerMalformed: "outer_malformed"
        case .outerChecksum: "outer_checksum"
        case .sourceNotAllowed: "source_not_allowed"
        case .geneveMalformed: "geneve_malformed"
        case .geneveVersion: "geneve_version"
        case .geneveControl: "geneve_control"
        case .geneveCriticalOption: "geneve_critical_option"
        case .geneveProtocol: "geneve_protocol"
        case .awsOptions: "aws_options"
        case .innerMalformed: "inner_malformed"
        case .innerHeaderChecksum: "inner_header_checksum"
        case .rule: "rule"
        case .default: "default"
        case .processor: "processor"
        case .fragment: "fragment"
        case .unknownTCP: "unknown_tcp"
        case .flowTableFull: "flow_table_full"
        case .tooBig: "too_big"
        case .send: "send"
        }
    }
}
