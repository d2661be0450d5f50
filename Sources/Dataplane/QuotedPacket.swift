import Wire

/// The packet whose beginning an ICMP error quotes, as far as it tells its flow (RFC 792: header and
/// 8 bytes; RFC 4443 §2.4: as much as fits).
@usableFromInline struct QuotedPacket: BitwiseCopyable {
    /// Only what makes the flow key is filled in.
    @usableFromInline var layout = PacketLayout()

    @usableFromInline var flowKey: FlowKey { layout.flowKey }
    @usableFromInline var isLow: Bool { layout.isLow }

    /// Nil when it is no error, when it cannot be read, or when the error does not go to where the
    /// packet came from: then it is about somebody else's.
    ///
    /// - Parameter view: ends with the packet that has the error inside.
    @usableFromInline
    init?(_ view: PacketView, in error: PacketLayout, _ settings: PathSettings) {
        guard error.quotesPacket(view) else { return nil }
        layout.options = error.options
        layout.version = error.version
        let offset = error.transport &+ ICMPHeader.length
        let isRead = error.version == 4 ? readIPv4(view, offset) : readIPv6(view, offset)
        guard isRead, layout.source == error.destination else { return nil }
        if FlowHash.hasPorts(layout.protocolNumber), !layout.isLaterFragment {
            guard view.count &- layout.transport >= 4 else { return nil }
            layout.readPorts(view)
        }
        if layout.isFragment, settings.fragmentsMeetFlows { layout.meetFlow() }
    }

    private mutating func readIPv4(_ view: PacketView, _ offset: Int) -> Bool {
        guard let ip = IPv4Header(view, at: offset), ip.version == 4,
            ip.headerLength >= IPv4Header.minimumLength
        else { return false }
        layout.transport = offset &+ ip.headerLength
        layout.source = IPv6Address(0, UInt64(ip.source))
        layout.destination = IPv6Address(0, UInt64(ip.destination))
        layout.protocolNumber = ip.protocolNumber
        layout.flowProtocol = ip.protocolNumber
        layout.isFragment = ip.isFragment
        layout.isLaterFragment = ip.fragmentOffset != 0
        return true
    }

    private mutating func readIPv6(_ view: PacketView, _ offset: Int) -> Bool {
        guard let ip = IPv6Header(view, at: offset), ip.version == 6,
            let walk = IPv6ExtensionWalk(
                view, at: offset &+ IPv6Header.length, end: view.count, nextHeader: ip.nextHeader,
                limit: 8)
        else { return false }
        layout.transport = walk.offset
        layout.source = ip.source
        layout.destination = ip.destination
        layout.protocolNumber = walk.protocolNumber
        layout.flowProtocol = walk.isFragment ? IPProtocol.ipv6Fragment : walk.protocolNumber
        layout.isFragment = walk.isFragment
        layout.isLaterFragment = walk.fragmentOffset != 0
        return true
    }
}
