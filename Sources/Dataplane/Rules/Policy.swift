import Wire

/// What an operator wants, in plain values: the policy for all endpoints, and those of their own
/// that some have. `PolicySnapshot` compiles it into tables.
public struct PolicySet: Equatable, Sendable {
    public var main = Policy()
    /// By endpoint id: these packets see their own policy instead of `main`.
    public var endpoints: [UInt64: Policy] = [:]

    public init() {}

    /// All rules, those of `main` first, then by endpoint id: the order of the hit counters.
    public var rules: [Rule] { policies.flatMap(\.rules) }

    /// What needs all packets of a flow on one worker, by the names of the file; nil = nothing.
    public var needsWholeFlows: String? {
        policies.lazy.compactMap(\.needsWholeFlows).first
    }

    /// `main`, then the others by endpoint id.
    var policies: [Policy] { [main] + endpoints.sorted { $0.key < $1.key }.map(\.value) }
}

/// A policy of which something is more than there is room for: what, and how much is the most.
public struct PolicyExcess: Error, CustomStringConvertible, Sendable {
    public let description: String
    init(_ description: String) { self.description = description }
}

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
        if let rule = rules.first(where: { $0.match.flow != nil }) {
            return "flow (rule '\(rule.name)')"
        }
        if let rule = rules.first(where: { $0.match.sampleEvery != nil }) {
            return "sample (rule '\(rule.name)')"
        }
        if let rule = rules.first(where: { $0.match.rate != nil }) {
            return "rate (rule '\(rule.name)')"
        }
        if dropsUnknownTCP { return "on-unknown-tcp: drop" }
        return fragments == .followFirst ? "fragments: follow-first, the default" : nil
    }
}

public struct Rule: Equatable, Sendable {
    /// The value of the `rule` label of its counter.
    public var name: String
    public var match = Match()
    /// What happens to packets that match, in this order: log, replace, decide.
    public var isLogged = false
    public var replacements: [Replacement] = []
    public var terminal: Terminal?
    /// Count and log only.
    public var isDryRun = false

    public enum Terminal: UInt8, Equatable, BitwiseCopyable, Sendable { case forward, drop }

    public init(_ name: String) { self.name = name }
}

/// Every occurrence of `find` in the payload becomes `with`.
public struct Replacement: Equatable, Sendable {
    public var find: [UInt8]
    public var with: [UInt8]

    public init(find: [UInt8], with: [UInt8]) {
        self.find = find
        self.with = with
    }
}

/// Conditions on one packet as it came; all must hold, nil holds always. Of a list, one item must.
public struct Match: Equatable, Sendable {
    /// Inner protocol numbers, behind IPv6 extension headers.
    public var protocols: ByteSet?
    /// 4 or 6.
    public var version: UInt8?
    public var source: [AddressRange]?
    public var destination: [AddressRange]?
    /// Source or destination.
    public var address: [AddressRange]?
    /// Ports hold only for UDP, TCP, not for later fragments.
    public var sourcePorts: [ClosedRange<UInt16>]?
    public var destinationPorts: [ClosedRange<UInt16>]?
    /// Source or destination.
    public var ports: [ClosedRange<UInt16>]?
    public var endpoints: [UInt64]?
    public var tcpFlags: TCPFlags?
    public var icmp: ICMP?
    public var payload: Payload?
    /// Inner IP packet, bytes.
    public var lengths: [ClosedRange<UInt16>]?
    public var fragment: Fragment?
    public var flow: Flow?
    /// The first packet of a flow, and every so many-th after it; both directions count.
    public var sampleEvery: UInt32?
    /// Packets that exceed a limit. Only a packet for which all else holds, and that no earlier
    /// rule has decided, counts against it.
    public var rate: Rate?

    /// So many packets per second, and so many at once after a pause: in any T seconds at most
    /// `burst` + `packetsPerSecond` × T packets do not exceed it, on all workers together.
    public struct Rate: Equatable, BitwiseCopyable, Sendable {
        /// 1 to 100 million.
        public var packetsPerSecond: UInt32
        /// 1 to 100 million.
        public var burst: UInt32
        public var per: Per

        /// What has a limit of its own: a flow with both its directions, an inner source address
        /// behind an endpoint, an endpoint, or nothing.
        public enum Per: UInt8, Equatable, BitwiseCopyable, Sendable {
            case flow, source, endpoint, all
        }

        public static let highest: UInt32 = 100_000_000

        /// - Parameter burst: by default what comes in a tenth of a second, so that no second has
        ///   more than 1.1 × the rate.
        public init(packetsPerSecond: UInt32, burst: UInt32? = nil, per: Per = .all) {
            self.packetsPerSecond = min(Rate.highest, max(1, packetsPerSecond))
            self.burst = min(Rate.highest, max(1, burst ?? packetsPerSecond / 10))
            self.per = per
        }
    }

    /// Established: a packet of this flow was forwarded in the other direction. New: none yet.
    public enum Flow: UInt8, Equatable, BitwiseCopyable, Sendable { case new, established }

    /// Flags that must be set and flags that must not (RFC 9293 §3.1, CWR to FIN).
    public struct TCPFlags: Equatable, BitwiseCopyable, Sendable {
        public var set: UInt8 = 0
        public var clear: UInt8 = 0
        public init(set: UInt8 = 0, clear: UInt8 = 0) {
            self.set = set
            self.clear = clear
        }
    }

    /// ICMP of an IPv4 packet or ICMPv6 of an IPv6 packet.
    public struct ICMP: Equatable, BitwiseCopyable, Sendable {
        public var types: ByteSet?
        public var codes: ByteSet?
        /// Echo messages whose sequence number is a multiple of this.
        public var sequenceEvery: UInt16?
        public init() {}
    }

    /// Bytes of a UDP or TCP payload.
    public struct Payload: Equatable, Sendable {
        public var strings: [[UInt8]]
        /// ASCII letters only.
        public var ignoresCase: Bool
        public init(_ strings: [[UInt8]], ignoresCase: Bool = false) {
            self.strings = strings
            self.ignoresCase = ignoresCase
        }
    }

    public enum Fragment: Equatable, Sendable { case first, later, any, none }

    public init() {}
}

/// The addresses of a prefix, or from one to another. An IPv4 address stands in the low 32 bits.
public struct AddressRange: Equatable, BitwiseCopyable, Sendable {
    public var isIPv6: Bool
    public var first: UInt128
    public var last: UInt128

    public init(isIPv6: Bool, first: UInt128, last: UInt128) {
        precondition(first <= last)
        self.isIPv6 = isIPv6
        self.first = first
        self.last = last
    }

    /// Bits of `address` behind the prefix are ignored. - Precondition: length fits the version.
    public init(isIPv6: Bool, address: UInt128, length: Int) {
        let width = isIPv6 ? 128 : 32
        precondition(length >= 0 && length <= width)
        let host: UInt128 = (1 << UInt128(width - length)) &- 1
        self.init(isIPv6: isIPv6, first: address & ~host, last: address | host)
    }

    public func contains(_ address: UInt128, isIPv6: Bool) -> Bool {
        self.isIPv6 == isIPv6 && first <= address && address <= last
    }
}

/// A set of numbers from 0 to 255.
public struct ByteSet: Equatable, BitwiseCopyable, Sendable {
    private var words: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)

    public init(_ members: some Sequence<UInt8> = []) {
        for member in members { insert(member) }
    }

    public mutating func insert(_ value: UInt8) {
        let bit: UInt64 = 1 << UInt64(value & 63)
        switch value >> 6 {
        case 0: words.0 |= bit
        case 1: words.1 |= bit
        case 2: words.2 |= bit
        default: words.3 |= bit
        }
    }

    public func contains(_ value: UInt8) -> Bool {
        // No switch: it would jump by a table, and the packet path is free of such jumps.
        let word =
            value < 128
            ? (value < 64 ? words.0 : words.1) : (value < 192 ? words.2 : words.3)
        return word &>> UInt64(value & 63) & 1 != 0
    }

    public var members: [UInt8] { (0...255).filter { contains($0) } }

    public static func == (a: ByteSet, b: ByteSet) -> Bool { a.words == b.words }
}
