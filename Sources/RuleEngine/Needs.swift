import Dataplane
import Wire

/// What a packet must be so that conditions can hold, told once for the tables, for the reader's
/// complaints and for advice.
public struct Needs: Equatable, Sendable {
    /// Protocol numbers of an IPv4 packet, and of an IPv6 packet.
    public private(set) var protocolsV4 = ByteSet.all
    public private(set) var protocolsV6 = ByteSet.all
    private var hasV4 = true
    private var hasV6 = true
    /// Bytes of the transport header that are read; more than 0: later fragments do not have them.
    public private(set) var transport = 0
    /// Bytes behind the transport header of UDP or TCP; nil = none are read.
    public private(set) var text: Int?
    /// All packets of a flow on one worker.
    public private(set) var wholeFlows = false

    init(
        protocols: ByteSet = .all, hasV4: Bool = true, hasV6: Bool = true, transport: Int = 0,
        text: Int? = nil, wholeFlows: Bool = false
    ) {
        protocolsV4 = protocols
        protocolsV6 = protocols
        self.hasV4 = hasV4
        self.hasV6 = hasV6
        self.transport = transport
        self.text = text
        self.wholeFlows = wholeFlows
    }

    /// ICMP belongs to IPv4, ICMPv6 to IPv6.
    static var icmp: Needs {
        var needs = Needs(transport: 8)
        needs.protocolsV4 = [IPProtocol.icmp]
        needs.protocolsV6 = [IPProtocol.icmpv6]
        return needs
    }

    /// What both need.
    public mutating func add(_ other: Needs) {
        protocolsV4 = protocolsV4.intersection(other.protocolsV4)
        protocolsV6 = protocolsV6.intersection(other.protocolsV6)
        hasV4 = hasV4 && other.hasV4
        hasV6 = hasV6 && other.hasV6
        transport = max(transport, other.transport)
        text = [text, other.text].compactMap { $0 }.max()
        wholeFlows = wholeFlows || other.wholeFlows
    }

    /// Protocols that are left, of either version.
    public var protocols: ByteSet { protocolsV4.union(protocolsV6) }

    /// IP versions that are left, whatever the protocol.
    public var versions: Set<UInt8> { Set((hasV4 ? [4] : []) + (hasV6 ? [6] : [])) }

    /// IP versions that are left, of which a protocol is left too.
    public var possibleVersions: Set<UInt8> {
        versions.filter { !($0 == 4 ? protocolsV4 : protocolsV6).isEmpty }
    }

    /// Bytes of the shortest inner packet.
    public var shortest: Int {
        let header = possibleVersions.contains(4) ? IPv4Header.minimumLength : IPv6Header.length
        let isTCP = !protocols.contains(IPProtocol.udp)
        let behind = text.map { $0 + (isTCP ? TCPHeader.minimumLength : UDPHeader.length) } ?? 0
        return header + max(transport, behind)
    }

    /// A packet of this version and protocol may be meant.
    func allows(version: UInt8, protocol number: UInt8) -> Bool {
        version == 4
            ? hasV4 && protocolsV4.contains(number) : hasV6 && protocolsV6.contains(number)
    }
}

extension Match {
    /// What all its conditions need together.
    public var needs: Needs {
        conditions.reduce(into: Needs()) { needs, condition in needs.add(condition.needs) }
    }
}
