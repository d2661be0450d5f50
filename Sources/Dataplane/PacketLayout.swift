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
    /// The protocol number in the flow key: of an IPv6 fragment, what its fragment header names.
    public var flowProtocol: UInt8 = 0
    public var isFragment = false
    public var isLaterFragment = false
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

    @inlinable @inline(__always)
    public var flowKey: FlowKey {
        FlowKey(
            endpoint: options.endpoint, version: version, protocolNumber: flowProtocol,
            source: source, destination: destination,
            sourcePort: isFragment ? 0 : sourcePort,
            destinationPort: isFragment ? 0 : destinationPort, isFragment: isFragment)
    }
}

extension PacketLayout {
    /// Reads a frame from the outside in. Nil on success, else why it cannot be served. After
    /// `innerMalformed` the outer part of the layout is still right.
    @inlinable @inline(__always)
    public mutating func parse(
        _ view: PacketView, facts: FrameFacts, settings: PathSettings
    ) -> DropReason? {
        if facts.contains(.truncated) { return .tooBig }
        if let reason = parseOuter(view, facts: facts, settings: settings) { return reason }
        if let reason = parseGeneve(view, settings: settings) { return reason }
        return version == 4 ? parseIPv4(view) : parseIPv6(view)
    }

    /// Outer IPv4 (RFC 791 §3.1) and UDP (RFC 768).
    @inlinable @inline(__always)
    mutating func parseOuter(
        _ view: PacketView, facts: FrameFacts, settings: PathSettings
    ) -> DropReason? {
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
        // A packet from ourselves would be answered to ourselves, for ever.
        guard ip.source != ip.destination, ip.source &>> 24 != 127,
            settings.allowedSources.contains(ip.source)
        else { return .sourceNotAllowed }
        outerHeader = ip.headerLength
        outerEnd = ip.headerLength &+ length
        geneve = ip.headerLength &+ UDPHeader.length
        if settings.verifyOuterChecksum == .always, !facts.contains(.checksumVerified),
            !PacketLayout.verifyOuterChecksum(view, from: outerHeader, to: outerEnd)
        {
            return .outerChecksum
        }
        return nil
    }

    /// The outer UDP checksum of [header, end). RFC 768: zero means that the sender computed none.
    @inlinable
    static func verifyOuterChecksum(_ view: PacketView, from header: Int, to end: Int) -> Bool {
        guard view.u16(header &+ 6) != 0 else { return true }
        var sum = InternetChecksum()
        sum.add(view, at: 12, count: 8)
        sum.add(UInt16(IPProtocol.udp))
        sum.add(UInt16(truncatingIfNeeded: end &- header))
        sum.add(view, at: header, count: end &- header)
        return sum.verifies
    }

    /// Geneve and its options (RFC 8926 §3.4, §3.5), and the agreement with what is inside.
    @inlinable @inline(__always)
    mutating func parseGeneve(_ view: PacketView, settings: PathSettings) -> DropReason? {
        let view = view.prefix(outerEnd)
        guard let header = GeneveHeader(view, at: geneve) else { return .geneveMalformed }
        guard header.version == 0 else { return .geneveVersion }
        inner = geneve &+ header.length
        guard inner <= outerEnd else { return .geneveMalformed }
        guard !header.isControl else { return .geneveControl }
        switch options.walk(view, from: geneve &+ GeneveHeader.fixedLength, to: inner) {
        case .ok: break
        case .malformed: return .geneveMalformed
        case .critical: return .geneveCriticalOption
        case .invalid: return .awsOptions
        }
        guard options.isComplete || !settings.requireAWSOptions else { return .awsOptions }
        return checkProtocol(view, header.protocolType)
    }

    @inlinable @inline(__always)
    mutating func checkProtocol(_ view: PacketView, _ type: UInt16) -> DropReason? {
        guard type == GeneveHeader.protocolIPv4 || type == GeneveHeader.protocolIPv6 else {
            return .geneveProtocol
        }
        guard inner < outerEnd else { return .innerMalformed }
        version = type == GeneveHeader.protocolIPv4 ? 4 : 6
        return view.u8(inner) &>> 4 == version ? nil : .geneveProtocol
    }

    /// Inner IPv4 (RFC 791 §3.1), any header length.
    @inlinable @inline(__always)
    mutating func parseIPv4(_ view: PacketView) -> DropReason? {
        let view = view.prefix(outerEnd)
        guard let ip = IPv4Header(view, at: inner),
            ip.isWellFormed(available: outerEnd &- inner)
        else { return .innerMalformed }
        innerEnd = inner &+ Int(ip.totalLength)
        protocolNumber = ip.protocolNumber
        flowProtocol = ip.protocolNumber
        isFragment = ip.isFragment
        isLaterFragment = ip.fragmentOffset != 0
        source = IPv6Address(0, UInt64(ip.source))
        destination = IPv6Address(0, UInt64(ip.destination))
        transport = inner &+ ip.headerLength
        parseTransport(view.prefix(innerEnd))
        return nil
    }

    /// Inner IPv6 (RFC 8200 §3, §4), at most 8 extension headers.
    @inlinable @inline(__always)
    mutating func parseIPv6(_ view: PacketView) -> DropReason? {
        let view = view.prefix(outerEnd)
        guard let ip = IPv6Header(view, at: inner),
            ip.isWellFormed(available: outerEnd &- inner)
        else { return .innerMalformed }
        innerEnd = inner &+ IPv6Header.length &+ Int(ip.payloadLength)
        guard
            let walk = IPv6ExtensionWalk(
                view, at: inner &+ IPv6Header.length, end: innerEnd, nextHeader: ip.nextHeader,
                limit: 8)
        else { return .innerMalformed }
        protocolNumber = walk.protocolNumber
        flowProtocol = walk.isFragment ? walk.fragmentProtocol : walk.protocolNumber
        isFragment = walk.isFragment
        isLaterFragment = walk.fragmentOffset != 0
        source = ip.source
        destination = ip.destination
        transport = walk.offset
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
        guard length >= UDPHeader.length else { return }
        if transport &+ length <= innerEnd {
            payloadEnd = transport &+ length
            isRewritable = !isFragment
        } else if !isFragment {
            return  // RFC 768: the length cannot exceed what IP carries.
        }
        payload = transport &+ UDPHeader.length
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
