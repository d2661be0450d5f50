import PacketIO
import Wire

/// A frame understood: where everything stands in it. All offsets count from the first byte of
/// the outer IPv4 header; what a field names has been guarded against the bytes that are there.
public struct PacketLayout: BitwiseCopyable, Sendable {
    /// Outer IPv4 header, bytes: where the outer UDP header starts.
    public var outerHeader = 0
    /// End of the outer UDP payload.
    public var outerEnd = 0
    public var geneve = 0
    public var inner = 0
    /// End of the inner packet by its own length; bytes up to `outerEnd` trail it.
    public var innerEnd = 0
    /// Where the inner transport header starts.
    public var transport = 0
    /// Bytes that payload rules may search; empty when there is no transport we know.
    public var payload = 0
    public var payloadEnd = 0

    /// 4 or 6.
    public var version: UInt8 = 0
    /// The inner protocol number behind any extension headers.
    public var protocolNumber: UInt8 = 0
    /// The protocol number in the flow key: of IPv6 fragments 44 (RFC 8200 §4.5), since what later
    /// ones name as next is free.
    public var flowProtocol: UInt8 = 0
    public var isFragment = false
    public var isLaterFragment = false
    /// A fragment with ports, where fragments meet their flow: it belongs to that of its ports.
    @usableFromInline var meetsFlow = false
    /// It quotes a packet that was forwarded, of a flow that is still in the table.
    public var quotesLiveFlow = false
    /// Ports are in `sourcePort` and `destinationPort`.
    public var hasPorts = false
    /// A whole UDP or TCP header with a payload that may be replaced.
    public var isRewritable = false
    public var sourcePort: UInt16 = 0
    public var destinationPort: UInt16 = 0
    public var source = IPv6Address(0, 0)
    public var destination = IPv6Address(0, 0)
    /// TCP flags, or 0.
    public var tcpFlags: UInt8 = 0
    public var options = AWSOptions()

    @inlinable @inline(__always) public init() {}

    /// The packet counts under its endpoint. Only one that could be read whole makes an entry:
    /// garbage with made-up ids must not use them up.
    @inlinable @inline(__always)
    var hasEndpoint: Bool { options.hasEndpoint && transport != 0 }

    /// Its flow is that of the fragments between its addresses, not that of its ports.
    @inlinable @inline(__always)
    public var isKeyedAsFragment: Bool { isFragment && !meetsFlow }

    @inlinable @inline(__always)
    public var flowKey: FlowKey {
        FlowKey(
            endpoint: options.endpoint, version: version, protocolNumber: flowProtocol,
            source: source, destination: destination,
            sourcePort: isKeyedAsFragment ? 0 : sourcePort,
            destinationPort: isKeyedAsFragment ? 0 : destinationPort,
            isFragment: isKeyedAsFragment)
    }

    /// It may bring its flow into another phase (TCP with FIN, SYN or RST), or tell of another flow
    /// (ICMP: an error quotes a packet).
    @inlinable @inline(__always)
    var mayTurn: Bool {
        // First what most packets are.
        guard protocolNumber != IPProtocol.udp else { return false }
        return tcpFlags & (TCPFlag.fin | TCPFlag.syn | TCPFlag.rst) != 0
            || protocolNumber == IPProtocol.icmp || protocolNumber == IPProtocol.icmpv6
    }

    /// It runs from the low end of its flow key to the high one.
    @inlinable @inline(__always)
    public var isLow: Bool {
        FlowKey.isLow(
            source, isKeyedAsFragment ? 0 : sourcePort,
            destination, isKeyedAsFragment ? 0 : destinationPort)
    }
}

extension PacketLayout {
    /// Reads a frame from the outside in. Nil on success, else why it cannot be served. After
    /// `innerMalformed` the outer part of the layout is still right. Who is answered, and the outer
    /// UDP checksum: `OuterCheck`.
    @inlinable @inline(__always)
    public mutating func parse(
        _ view: PacketView, facts: FrameFacts, settings: PathSettings
    ) -> DropReason? {
        if facts.contains(.truncated) { return .tooBig }
        if let reason = parseOuter(view, facts) { return reason }
        if let reason = parseGeneve(view, settings: settings) { return reason }
        return parseInner(view.prefix(outerEnd))
    }

    /// Outer IPv4 (RFC 791 §3.1) and UDP (RFC 768).
    @inlinable @inline(__always)
    mutating func parseOuter(_ view: PacketView, _ facts: FrameFacts) -> DropReason? {
        guard let ip = IPv4Header(view, at: 0), ip.isWellFormed(available: view.count),
            ip.protocolNumber == IPProtocol.udp
        else { return .outerMalformed }
        if !facts.contains(.headerVerified),
            !IPv4Header.verifyChecksum(view, at: 0, length: ip.headerLength)
        {
            return .outerChecksum
        }
        let end = Int(ip.totalLength)
        guard let udp = UDPHeader(view.prefix(end), at: ip.headerLength) else {
            return .outerMalformed
        }
        let length = Int(udp.datagramLength)
        guard length >= UDPHeader.length, ip.headerLength &+ length <= end,
            udp.destinationPort == GeneveHeader.port
        else { return .outerMalformed }
        outerHeader = ip.headerLength
        outerEnd = ip.headerLength &+ length
        geneve = ip.headerLength &+ UDPHeader.length
        return nil
    }

    /// The outer UDP checksum of [header, end). RFC 768: zero means that the sender computed none.
    @inlinable @inline(never)
    static func verifyOuterChecksum(_ view: PacketView, from header: Int, to end: Int) -> Bool {
        guard view.u16(header &+ 6) != 0 else { return true }
        var sum = InternetChecksum()
        sum.addPseudoHeader(of: view, at: 0, version: 4, IPProtocol.udp, length: end &- header)
        sum.add(view, at: header, count: end &- header)
        return sum.verifies
    }

    /// Geneve and its options (RFC 8926 §3.4, §3.5), and the agreement with what is inside.
    @inlinable @inline(__always)
    mutating func parseGeneve(_ view: PacketView, settings: PathSettings) -> DropReason? {
        let view = view.prefix(outerEnd)
        let type: UInt16
        if AWSOptions.areUsual(view, at: geneve) {
            options = AWSOptions(usual: view, at: geneve)
            inner = geneve &+ AWSOptions.usualLength
            type = view.u16(geneve &+ 2)
        } else {
            let any = GeneveWalk(view, at: geneve)
            if let reason = any.reason { return reason }
            options = any.options
            inner = any.inner
            type = any.protocolType
            guard options.isComplete || !settings.requireAWSOptions else { return .awsOptions }
        }
        guard type == GeneveHeader.protocolIPv4 || type == GeneveHeader.protocolIPv6 else {
            return .geneveProtocol
        }
        version = type == GeneveHeader.protocolIPv4 ? 4 : 6
        return nil
    }

    /// - Parameter view: ends with the outer UDP payload.
    @inlinable @inline(__always)
    mutating func parseInner(_ view: PacketView) -> DropReason? {
        let found =
            version == 4 ? InnerIP(ipv4: view, at: inner) : InnerIP.readIPv6(view, at: inner)
        guard let ip = found else {
            // The header checks its own version, so a wrong one only needs a name.
            let agrees = view.count <= inner || view.u8(inner) &>> 4 == version
            return agrees ? .innerMalformed : .geneveProtocol
        }
        innerEnd = ip.end
        protocolNumber = ip.protocolNumber
        flowProtocol = ip.flowProtocol
        isFragment = ip.isFragment
        isLaterFragment = ip.isLaterFragment
        source = ip.source
        destination = ip.destination
        transport = ip.transport
        parseTransport(view.prefix(innerEnd))
        return nil
    }

    /// Ports and payload. A transport header that is cut off or lies about its length is not an
    /// error: the packet passes as opaque. Later fragments have no header to read.
    ///
    /// - Parameter view: ends with the inner packet.
    @inlinable @inline(__always)
    mutating func parseTransport(_ view: PacketView) {
        payload = innerEnd
        payloadEnd = innerEnd
        guard !isLaterFragment else { return }
        switch protocolNumber {
        case IPProtocol.udp: parseUDP(view)
        case IPProtocol.tcp: parseTCP(view)
        default: break
        }
    }

    @inlinable @inline(__always)
    mutating func parseUDP(_ view: PacketView) {
        guard let udp = UDPHeader(view, at: transport) else { return readPorts(view) }
        setPorts(udp.sourcePort, udp.destinationPort)
        let length = Int(udp.datagramLength)
        guard length >= UDPHeader.length else {
            if length == 0, version == 6 { runToEnd() }
            return
        }
        if transport &+ length <= innerEnd {
            payloadEnd = transport &+ length
            isRewritable = !isFragment
        } else if !isFragment {
            return  // RFC 768: the length cannot exceed what IP carries.
        }
        payload = transport &+ UDPHeader.length
    }

    /// UDP over IPv6 with a length of 0 has all bytes up to the end of the packet (RFC 2675 §4): hosts
    /// deliver it, jumbogram or not, so it is searched. A rewrite refuses it: `PacketRewrite`.
    @inlinable @inline(__always)
    mutating func runToEnd() {
        payload = transport &+ UDPHeader.length
        isRewritable = !isFragment
    }

    @inlinable @inline(__always)
    mutating func parseTCP(_ view: PacketView) {
        guard let tcp = TCPHeader(view, at: transport) else { return readPorts(view) }
        setPorts(tcp.sourcePort, tcp.destinationPort)
        tcpFlags = tcp.flags
        guard tcp.headerLength >= TCPHeader.minimumLength,
            transport &+ tcp.headerLength <= innerEnd
        else { return }
        payload = transport &+ tcp.headerLength
        isRewritable = !isFragment
    }

    /// It is an ICMP error, which quotes the packet that it is about.
    ///
    /// - Parameter view: ends with the inner packet.
    func quotesPacket(_ view: PacketView) -> Bool {
        !isFragment && view.count > transport
            && protocolNumber == (version == 4 ? IPProtocol.icmp : IPProtocol.icmpv6)
            && ICMPHeader.quotes(type: view.u8(transport), version: version)
    }

    /// Of a fragment, where fragments meet their flow: one that has the ports belongs to it.
    @inlinable @inline(__always)
    mutating func meetFlow() {
        guard hasPorts else { return }
        meetsFlow = true
        flowProtocol = protocolNumber
    }

    /// Of a header that is cut off: both ports are the first four bytes of UDP and TCP alike.
    @inlinable @inline(__always)
    mutating func readPorts(_ view: PacketView) {
        guard view.count &- transport >= 4 else { return }
        setPorts(view.u16(transport), view.u16(transport &+ 2))
    }

    @inlinable @inline(__always)
    mutating func setPorts(_ source: UInt16, _ destination: UInt16) {
        sourcePort = source
        destinationPort = destination
        hasPorts = true
    }
}

/// Any Geneve header, read and checked.
@usableFromInline struct GeneveWalk: BitwiseCopyable {
    @usableFromInline var reason: DropReason?
    @usableFromInline var options = AWSOptions()
    @usableFromInline var inner = 0
    @usableFromInline var protocolType: UInt16 = 0

    /// - Parameter view: ends with the outer UDP payload.
    @inlinable @inline(never)
    init(_ view: PacketView, at offset: Int) { reason = read(view, at: offset) }

    @inlinable
    mutating func read(_ view: PacketView, at offset: Int) -> DropReason? {
        guard let header = GeneveHeader(view, at: offset) else { return .geneveMalformed }
        guard header.version == 0 else { return .geneveVersion }
        inner = offset &+ header.length
        guard inner <= view.count else { return .geneveMalformed }
        guard !header.isControl else { return .geneveControl }
        protocolType = header.protocolType
        switch options.walk(view, from: offset &+ GeneveHeader.fixedLength, to: inner) {
        case .ok: return nil
        case .malformed: return .geneveMalformed
        case .critical: return .geneveCriticalOption
        case .invalid: return .awsOptions
        }
    }
}

/// The inner IP header of either version, read and checked.
@usableFromInline struct InnerIP: BitwiseCopyable {
    @usableFromInline var end: Int
    @usableFromInline var transport: Int
    @usableFromInline var source: IPv6Address
    @usableFromInline var destination: IPv6Address
    @usableFromInline var protocolNumber: UInt8
    @usableFromInline var flowProtocol: UInt8
    @usableFromInline var isFragment: Bool
    @usableFromInline var isLaterFragment: Bool

    /// RFC 791 §3.1, any header length. Nil when it cannot be.
    @inlinable @inline(__always)
    init?(ipv4 view: PacketView, at offset: Int) {
        guard let ip = IPv4Header(view, at: offset),
            ip.isWellFormed(available: view.count &- offset)
        else { return nil }
        end = offset &+ Int(ip.totalLength)
        transport = offset &+ ip.headerLength
        source = IPv6Address(0, UInt64(ip.source))
        destination = IPv6Address(0, UInt64(ip.destination))
        protocolNumber = ip.protocolNumber
        flowProtocol = ip.protocolNumber
        isFragment = ip.isFragment
        isLaterFragment = ip.fragmentOffset != 0
    }

    /// RFC 8200 §3, §4, at most 8 extension headers. Nil when it cannot be.
    @inlinable @inline(__always)
    init?(ipv6 view: PacketView, at offset: Int) {
        guard let ip = IPv6Header(view, at: offset),
            ip.isWellFormed(available: view.count &- offset)
        else { return nil }
        end = offset &+ IPv6Header.length &+ Int(ip.payloadLength)
        guard
            let walk = IPv6ExtensionWalk(
                view, at: offset &+ IPv6Header.length, end: end, nextHeader: ip.nextHeader,
                limit: 8)
        else { return nil }
        transport = walk.offset
        source = ip.source
        destination = ip.destination
        protocolNumber = walk.protocolNumber
        flowProtocol = walk.isFragment ? IPProtocol.ipv6Fragment : walk.protocolNumber
        isFragment = walk.isFragment
        isLaterFragment = walk.fragmentOffset != 0
    }

    /// Out of line, and by value: so the layout can live in registers.
    @inlinable @inline(never)
    static func readIPv6(_ view: PacketView, at offset: Int) -> InnerIP? {
        InnerIP(ipv6: view, at: offset)
    }
}
