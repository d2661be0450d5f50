import Wire

/// An inner IP packet as the gateway sees it: who talks to whom, and where its checksums stand.
/// Offsets count from the start of the view it was read from.
public struct InnerPacket: Sendable, BitwiseCopyable {
    /// First byte of the IP header.
    public private(set) var start: Int
    /// End by the IP header's own length.
    public private(set) var end: Int
    /// 4 or 6.
    public private(set) var version: UInt8
    /// Behind any IPv6 extension headers.
    public private(set) var protocolNumber: UInt8 = 0
    public private(set) var source = IPv6Address(0, 0)
    public private(set) var destination = IPv6Address(0, 0)
    /// Zero without ports, and in every fragment.
    public private(set) var sourcePort: UInt16 = 0
    public private(set) var destinationPort: UInt16 = 0
    public private(set) var isFragment = false
    /// Where the transport header starts.
    public private(set) var transport: Int
    /// TCP flags, or 0.
    public private(set) var tcpFlags: UInt8 = 0
    /// Where the transport checksum stands; 0 = none that we know.
    public private(set) var checksumField = 0

    /// Nil unless a well-formed IP header stands at `start`, with all the bytes it claims before
    /// the end of the view. Bytes that trail it are allowed.
    public init?(_ view: PacketView, at start: Int) {
        guard start >= 0, view.count > start else { return nil }
        self.start = start
        end = start
        transport = start
        version = view.u8(start) >> 4
        let isRead =
            switch version {
            case 4: readIPv4(view)
            case 6: readIPv6(view)
            default: false
            }
        guard isRead else { return nil }
        readTransport(view)
    }

    private mutating func readIPv4(_ view: PacketView) -> Bool {
        guard let ip = IPv4Header(view, at: start),
            ip.isWellFormed(available: view.count - start)
        else { return false }
        end = start + Int(ip.totalLength)
        transport = start + ip.headerLength
        protocolNumber = ip.protocolNumber
        isFragment = ip.isFragment
        source = IPv6Address(0, UInt64(ip.source))
        destination = IPv6Address(0, UInt64(ip.destination))
        return true
    }

    private mutating func readIPv6(_ view: PacketView) -> Bool {
        guard let ip = IPv6Header(view, at: start),
            ip.isWellFormed(available: view.count - start)
        else { return false }
        end = start + IPv6Header.length + Int(ip.payloadLength)
        guard
            let walk = IPv6ExtensionWalk(
                view, at: start + IPv6Header.length, end: end, nextHeader: ip.nextHeader, limit: 8)
        else { return false }
        transport = walk.offset
        protocolNumber = walk.protocolNumber
        isFragment = walk.isFragment
        source = ip.source
        destination = ip.destination
        return true
    }

    private mutating func readTransport(_ view: PacketView) {
        guard !isFragment else { return }
        let available = end - transport
        if FlowHash.hasPorts(protocolNumber), available >= 4 {
            sourcePort = view.u16(transport)
            destinationPort = view.u16(transport + 2)
        }
        switch protocolNumber {
        case IPProtocol.udp where available >= UDPHeader.length:
            checksumField = transport + 6
        case IPProtocol.tcp where available >= TCPHeader.minimumLength:
            tcpFlags = view.u8(transport + 13)
            checksumField = transport + 16
        case IPProtocol.icmp where version == 4 && available >= 4,
            IPProtocol.icmpv6 where version == 6 && available >= 4:
            checksumField = transport + 2
        default: break
        }
    }

    /// Header and payload by the IP header's own length, bytes.
    public var length: Int { end - start }

    /// The whole inner tuple: packets with one key keep their order on the way.
    public func key(endpoint: UInt64) -> FlowKey {
        FlowKey(
            endpoint: endpoint, version: version, protocolNumber: protocolNumber,
            source: source, destination: destination, sourcePort: sourcePort,
            destinationPort: destinationPort, isFragment: isFragment)
    }

    /// True when the packet runs from the low end of its key to the high one.
    public var runsLowToHigh: Bool {
        FlowKey.isLow(source, sourcePort, destination, destinationPort)
    }

    /// Never routed through a load balancer: multicast, broadcast, link-local, unspecified.
    public var isLocalScope: Bool {
        if version == 4 {
            let from = UInt32(truncatingIfNeeded: source.low)
            let to = UInt32(truncatingIfNeeded: destination.low)
            return to >> 28 >= 0xE || from == 0 || from >> 16 == 0xA9FE || to >> 16 == 0xA9FE
        }
        let isMulticast = destination.high >> 56 == 0xFF
        let isUnspecified = source.high == 0 && source.low == 0
        return isMulticast || isUnspecified || source.high >> 54 == 0x3FA
            || destination.high >> 54 == 0x3FA
    }

    /// True when every checksum that can be verified is right: the IPv4 header's, and that of
    /// UDP (unless zero), TCP, ICMP or ICMPv6 in whole packets.
    public func checksumsAreRight(_ view: PacketView) -> Bool {
        if version == 4,
            !IPv4Header.verifyChecksum(
                view, at: start, length: Int(view.u8(start) & 0x0F) * 4)
        {
            return false
        }
        guard checksumField != 0 else { return true }
        var length = end - transport
        if protocolNumber == IPProtocol.udp {
            let claimed = Int(view.u16(transport + 4))
            guard view.u16(checksumField) != 0, claimed >= UDPHeader.length, claimed <= length
            else { return true }
            length = claimed
        }
        var sum = InternetChecksum()
        if protocolNumber != IPProtocol.icmp {
            sum.addPseudoHeader(
                of: view, at: start, version: version, protocolNumber, length: length)
        }
        sum.add(view, at: transport, count: length)
        return sum.verifies
    }
}
