/// Why a packet was dropped: one closed list, in metrics and in code. Every received packet that
/// is not forwarded is counted under exactly one of these.
public enum DropReason: UInt8, CaseIterable, BitwiseCopyable, Sendable {
    /// Outer IPv4 or UDP header: version, lengths.
    case outerMalformed
    /// Outer header checksum, or outer UDP checksum where it is verified.
    case outerChecksum
    /// The sender is not in `allow-sources`.
    case sourceNotAllowed
    /// The outer time to live does not reach any further (RFC 1812 §5.3.1).
    case outerTTL
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
    public var label: String { words.label }
    /// What such a packet was.
    public var meaning: String { words.meaning }
    /// What to look at, or to do, when such packets are dropped.
    public var advice: String { words.advice }
    /// Meaning and advice in one line.
    public var sentence: String { "\(meaning) (\(advice))" }

    /// All that people read about a reason. deploy/DAY-TWO.md says the same.
    private var words: (label: String, meaning: String, advice: String) {
        switch self {
        case .outerMalformed:
            (
                "outer_malformed", "outer IPv4 or UDP header with impossible version or lengths",
                "not from GWLB"
            )
        case .outerChecksum:
            (
                "outer_checksum",
                "outer header checksum, or outer UDP checksum where it is verified, is wrong",
                "damaged on the way, or a sender without checksum offload on the same host; geneve.verify-outer-checksum"
            )
        case .sourceNotAllowed:
            (
                "source_not_allowed",
                "sender outside listen.allow-sources, or one of our own addresses",
                "expected from strangers; if GWLB's: add the CIDR block of its subnet"
            )
        case .outerTTL:
            (
                "outer_ttl", "outer time to live of 0 or 1: a loop, or too many hops",
                "two appliances that answer each other: listen.allow-sources ends that"
            )
        case .geneveMalformed:
            (
                "geneve_malformed", "header or options do not fit",
                "not from GWLB"
            )
        case .geneveVersion:
            (
                "geneve_version", "a Geneve version other than 0",
                "not from GWLB"
            )
        case .geneveControl:
            (
                "geneve_control", "a Geneve control packet",
                "not from GWLB"
            )
        case .geneveCriticalOption:
            (
                "geneve_critical_option", "a critical option that Sluice does not know",
                "if it comes from GWLB, AWS has added one: upgrade"
            )
        case .geneveProtocol:
            (
                "geneve_protocol", "neither IPv4 nor IPv6 inside, or not what the header says",
                "not from GWLB"
            )
        case .awsOptions:
            (
                "aws_options", "an AWS option is missing, repeated or of another length",
                "other Geneve senders: close the security group, or geneve.require-aws-options: false in a lab"
            )
        case .innerMalformed:
            (
                "inner_malformed", "inner headers that cannot be",
                "hostile or broken hosts; policy.on-error decides"
            )
        case .innerHeaderChecksum:
            (
                "inner_header_checksum",
                "a rewrite was due, but the inner IPv4 header checksum is wrong",
                "a broken sender; look at its offloads"
            )
        case .rule:
            (
                "rule", "a rule dropped it",
                "your policy: sluice_rule_hits_total says which"
            )
        case .default:
            (
                "default", "no rule matched, and policy.default is drop",
                "your policy; a sudden rise: a rule is missing"
            )
        case .processor:
            (
                "processor", "your own processor said so",
                "its own counters"
            )
        case .fragment:
            (
                "fragment", "a later fragment follows its first, or policy.fragments: drop",
                "your policy"
            )
        case .unknownTCP:
            (
                "unknown_tcp", "TCP in mid-flow without state, and policy.on-unknown-tcp: drop",
                "rises after a restart, rebalance or scaling in; evaluate lets rules decide"
            )
        case .flowTableFull:
            (
                "flow_table_full", "no room for the flow, and flows.on-full is drop",
                "raise flows.per-worker"
            )
        case .tooBig:
            (
                "too_big", "longer than its slot, or longer than mtu after a rewrite",
                "raise listen.ring.frame-size, or shorten the replacement"
            )
        case .send:
            (
                "send", "the kernel refused it",
                "an interface with too small an MTU, or a full send queue"
            )
        }
    }
}
