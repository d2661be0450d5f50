import Wire

/// Conditions on one packet as it came: all must hold. Of a list in a condition, one item must.
public struct Match: Equatable, Sendable {
    /// One condition, as one key of the file writes it. Whoever takes conditions apart does so by
    /// an exhaustive switch, so that a key that is forgotten somewhere is a compile error there.
    public indirect enum Condition: Equatable, Sendable {
        /// Inner protocol numbers, behind IPv6 extension headers.
        case protocols(ByteSet)
        /// 4 or 6.
        case version(UInt8)
        case source([AddressRange])
        case destination([AddressRange])
        /// Source or destination.
        case address([AddressRange])
        /// Ports hold only for UDP and TCP, not for later fragments.
        case sourcePorts([ClosedRange<UInt16>])
        case destinationPorts([ClosedRange<UInt16>])
        /// Source or destination.
        case ports([ClosedRange<UInt16>])
        case endpoints([UInt64])
        case tcpFlags(TCPFlags)
        case icmp(ICMP)
        case payload(Payload)
        /// Inner IP packet, bytes.
        case lengths([ClosedRange<UInt16>])
        /// Inner TTL (RFC 791 §3.1) or hop limit (RFC 8200 §3).
        case ttl(ByteSet)
        /// Inner differentiated services code point, 0 to 63 (RFC 2474 §3).
        case dscp(ByteSet)
        case fragment(Fragment)
        case flow(Flow)
        /// None of the conditions in it may hold. They are those of headers and `flow`.
        case not(Match)
        /// The first packet of a flow, and every n-th after it; both directions count.
        case sample(UInt32)
        /// Packets that exceed a limit. Only a packet for which all else holds, and that no
        /// earlier rule has decided, counts against it.
        case rate(Rate)
    }

    /// The keys by their names in the file, in the order in which conditions stand and are told.
    public enum Key: String, CaseIterable, Comparable, Sendable {
        case protocols = "protocol"
        case version, source, destination, address
        case sourcePorts = "source-port"
        case destinationPorts = "destination-port"
        case ports = "port"
        case endpoints = "endpoint"
        case tcpFlags = "tcp-flags"
        case icmp, payload
        case lengths = "length"
        case ttl, dscp, fragment, flow, not, sample, rate

        /// Keys that cannot stand in `not`: payload is searched for what is asked, and the others
        /// depend on what else holds.
        public static var refusedInNot: [Key] { [.payload, .not, .sample, .rate] }

        public static func < (a: Key, b: Key) -> Bool {
            allCases.firstIndex(of: a)! < allCases.firstIndex(of: b)!
        }
    }

    /// At most one of a key, in the order of the keys.
    public private(set) var conditions: [Condition] = []

    public init() {}

    /// Of two conditions with the same key the last counts.
    public init(_ conditions: [Condition]) {
        for condition in conditions { self[condition.key] = condition }
    }

    /// The condition of a key; nil holds always.
    public subscript(key: Key) -> Condition? {
        get { conditions.first { $0.key == key } }
        set {
            precondition(newValue.map { $0.key == key } ?? true, "a condition of another key")
            conditions.removeAll { $0.key == key }
            guard let newValue else { return }
            let place = conditions.firstIndex { key < $0.key } ?? conditions.endIndex
            conditions.insert(newValue, at: place)
        }
    }
}

extension Match.Condition {
    public var key: Match.Key {
        switch self {
        case .protocols: .protocols
        case .version: .version
        case .source: .source
        case .destination: .destination
        case .address: .address
        case .sourcePorts: .sourcePorts
        case .destinationPorts: .destinationPorts
        case .ports: .ports
        case .endpoints: .endpoints
        case .tcpFlags: .tcpFlags
        case .icmp: .icmp
        case .payload: .payload
        case .lengths: .lengths
        case .ttl: .ttl
        case .dscp: .dscp
        case .fragment: .fragment
        case .flow: .flow
        case .not: .not
        case .sample: .sample
        case .rate: .rate
        }
    }

    /// What a packet must be so that the condition can hold.
    public var needs: Needs {
        switch self {
        case .protocols(let protocols): Needs(protocols: protocols)
        case .version(let version): Needs(hasV4: version == 4, hasV6: version == 6)
        case .source(let ranges), .destination(let ranges), .address(let ranges):
            Needs(
                hasV4: ranges.contains { !$0.isIPv6 }, hasV6: ranges.contains { $0.isIPv6 })
        case .sourcePorts, .destinationPorts, .ports:
            Needs(protocols: [IPProtocol.udp, IPProtocol.tcp], transport: 4)
        case .tcpFlags:
            Needs(protocols: [IPProtocol.tcp], transport: TCPHeader.minimumLength)
        case .icmp: Needs.icmp
        case .payload(let payload):
            Needs(
                protocols: [IPProtocol.udp, IPProtocol.tcp], transport: UDPHeader.length,
                text: payload.strings.map(\.count).min() ?? 0)
        case .flow, .sample, .rate: Needs(wholeFlows: true)
        case .not(let refused):
            refused.conditions.reduce(into: Needs()) { $0.add($1.needsToFail) }
        case .endpoints, .lengths, .ttl, .dscp, .fragment: Needs()
        }
    }
}

extension Match.Condition {
    /// What a packet must be so that the condition does not hold.
    fileprivate var needsToFail: Needs {
        switch self {
        case .protocols(let protocols): Needs(protocols: protocols.inverted)
        case .version(let version): Needs(hasV4: version != 4, hasV6: version != 6)
        case .flow, .sample, .rate: Needs(wholeFlows: true)
        case .source, .destination, .address, .sourcePorts, .destinationPorts, .ports, .endpoints,
            .tcpFlags, .icmp, .payload, .lengths, .ttl, .dscp, .fragment, .not:
            Needs()
        }
    }
}

// One key each, for those who write or look for that one alone.
extension Match {
    public var protocols: ByteSet? {
        get { if case .protocols(let value)? = self[.protocols] { value } else { nil } }
        set { self[.protocols] = newValue.map(Condition.protocols) }
    }
    public var version: UInt8? {
        get { if case .version(let value)? = self[.version] { value } else { nil } }
        set { self[.version] = newValue.map(Condition.version) }
    }
    public var source: [AddressRange]? {
        get { if case .source(let value)? = self[.source] { value } else { nil } }
        set { self[.source] = newValue.map(Condition.source) }
    }
    public var destination: [AddressRange]? {
        get { if case .destination(let value)? = self[.destination] { value } else { nil } }
        set { self[.destination] = newValue.map(Condition.destination) }
    }
    public var address: [AddressRange]? {
        get { if case .address(let value)? = self[.address] { value } else { nil } }
        set { self[.address] = newValue.map(Condition.address) }
    }
    public var sourcePorts: [ClosedRange<UInt16>]? {
        get { if case .sourcePorts(let value)? = self[.sourcePorts] { value } else { nil } }
        set { self[.sourcePorts] = newValue.map(Condition.sourcePorts) }
    }
    public var destinationPorts: [ClosedRange<UInt16>]? {
        get {
            if case .destinationPorts(let value)? = self[.destinationPorts] { value } else { nil }
        }
        set { self[.destinationPorts] = newValue.map(Condition.destinationPorts) }
    }
    public var ports: [ClosedRange<UInt16>]? {
        get { if case .ports(let value)? = self[.ports] { value } else { nil } }
        set { self[.ports] = newValue.map(Condition.ports) }
    }
    public var endpoints: [UInt64]? {
        get { if case .endpoints(let value)? = self[.endpoints] { value } else { nil } }
        set { self[.endpoints] = newValue.map(Condition.endpoints) }
    }
    public var tcpFlags: TCPFlags? {
        get { if case .tcpFlags(let value)? = self[.tcpFlags] { value } else { nil } }
        set { self[.tcpFlags] = newValue.map(Condition.tcpFlags) }
    }
    public var icmp: ICMP? {
        get { if case .icmp(let value)? = self[.icmp] { value } else { nil } }
        set { self[.icmp] = newValue.map(Condition.icmp) }
    }
    public var payload: Payload? {
        get { if case .payload(let value)? = self[.payload] { value } else { nil } }
        set { self[.payload] = newValue.map(Condition.payload) }
    }
    public var lengths: [ClosedRange<UInt16>]? {
        get { if case .lengths(let value)? = self[.lengths] { value } else { nil } }
        set { self[.lengths] = newValue.map(Condition.lengths) }
    }
    public var ttl: ByteSet? {
        get { if case .ttl(let value)? = self[.ttl] { value } else { nil } }
        set { self[.ttl] = newValue.map(Condition.ttl) }
    }
    public var dscp: ByteSet? {
        get { if case .dscp(let value)? = self[.dscp] { value } else { nil } }
        set { self[.dscp] = newValue.map(Condition.dscp) }
    }
    public var fragment: Fragment? {
        get { if case .fragment(let value)? = self[.fragment] { value } else { nil } }
        set { self[.fragment] = newValue.map(Condition.fragment) }
    }
    public var flow: Flow? {
        get { if case .flow(let value)? = self[.flow] { value } else { nil } }
        set { self[.flow] = newValue.map(Condition.flow) }
    }
    public var not: Match? {
        get { if case .not(let value)? = self[.not] { value } else { nil } }
        set { self[.not] = newValue.map(Condition.not) }
    }
    public var sampleEvery: UInt32? {
        get { if case .sample(let value)? = self[.sample] { value } else { nil } }
        set { self[.sample] = newValue.map(Condition.sample) }
    }
    public var rate: Rate? {
        get { if case .rate(let value)? = self[.rate] { value } else { nil } }
        set { self[.rate] = newValue.map(Condition.rate) }
    }
}
