import Wire

/// An outer packet that an appliance sent, taken apart without trust.
public struct ReturnedPacket: Sendable, BitwiseCopyable {
    /// Outer addresses, host order.
    public let source: UInt32
    public let destination: UInt32
    public let sourcePort: UInt16
    public let destinationPort: UInt16
    /// Where the outer UDP header, the Geneve header and the inner packet start.
    public let udp: Int
    public let geneve: Int
    public let inner: Int
    /// End of the outer UDP datagram.
    public let end: Int

    /// Nil when it is not outer IPv4, UDP and a Geneve header with room for an inner packet.
    /// - Parameter view: from the outer IPv4 header on.
    public init?(_ view: PacketView) {
        guard let ip = IPv4Header(view, at: 0), ip.isWellFormed(available: view.count),
            ip.protocolNumber == IPProtocol.udp,
            Int(ip.totalLength) - ip.headerLength >= UDPHeader.length + GeneveHeader.fixedLength,
            let udp = UDPHeader(view, at: ip.headerLength),
            let geneve = GeneveHeader(view, at: ip.headerLength + UDPHeader.length)
        else { return nil }
        let end = ip.headerLength + Int(udp.datagramLength)
        let inner = ip.headerLength + UDPHeader.length + geneve.length
        guard end <= Int(ip.totalLength), inner <= end else { return nil }
        source = ip.source
        destination = ip.destination
        sourcePort = udp.sourcePort
        destinationPort = udp.destinationPort
        self.udp = ip.headerLength
        self.geneve = ip.headerLength + UDPHeader.length
        self.inner = inner
        self.end = end
    }

    /// The AWS options, as far as they can be read.
    public func options(_ view: PacketView) -> AWSOptions {
        var options = AWSOptions()
        _ = options.walk(view, from: geneve + GeneveHeader.fixedLength, to: inner)
        return options
    }

    /// The flow cookie; 0, which no flow has, when there is none.
    public func cookie(_ view: PacketView) -> UInt32 {
        // Where it stands in what we sent; elsewhere only when the appliance changed that.
        if inner - geneve == Encapsulation.geneveLength,
            let cookie = Encapsulation.cookie(view, at: geneve)
        {
            return cookie
        }
        return options(view).cookie
    }

    /// What is wrong with its addresses, ports or Geneve bytes, held against what the flow's
    /// packets were sent with; nil when nothing is.
    /// - Parameter previousTarget: where else the flow's packets may come from.
    public func headerViolation(
        against header: GatewayHeader, previousTarget: UInt32? = nil, _ view: PacketView
    ) -> Violation? {
        guard destination == header.node, source == header.target || source == previousTarget
        else { return .addresses }
        guard sourcePort == header.sourcePort, destinationPort == GeneveHeader.port else {
            return .ports
        }
        guard inner - geneve == Encapsulation.geneveLength,
            Encapsulation.hasGeneve(of: header, view, at: geneve)
        else { return .geneve }
        return nil
    }

    /// True when the outer header checksum is right, and the outer UDP checksum right or zero.
    public func outerChecksumIsRight(_ view: PacketView) -> Bool {
        guard IPv4Header.verifyChecksum(view, at: 0, length: udp) else { return false }
        guard view.u16(udp + 6) != 0 else { return true }
        var sum = InternetChecksum()
        sum.addPseudoHeader(of: view, at: 0, version: 4, IPProtocol.udp, length: end - udp)
        sum.add(view, at: udp, count: end - udp)
        return sum.verifies
    }
}
