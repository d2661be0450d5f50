import Wire

/// What of a packet may bring its flow into another phase, or tells of another flow. Made for a call
/// out of line: a layout that is handed over would have to lie in memory for every packet.
@usableFromInline struct FlowTurn: BitwiseCopyable {
    @usableFromInline let source: IPv6Address
    @usableFromInline let destination: IPv6Address
    @usableFromInline let endpoint: UInt64
    @usableFromInline let transport: Int
    @usableFromInline let sourcePort: UInt16
    @usableFromInline let destinationPort: UInt16
    @usableFromInline let tcpFlags: UInt8
    @usableFromInline let protocolNumber: UInt8
    @usableFromInline let version: UInt8
    /// As the flow key has it.
    @usableFromInline let isFragment: Bool

    @inlinable @inline(__always)
    init(_ layout: borrowing PacketLayout) {
        source = layout.source
        destination = layout.destination
        endpoint = layout.options.endpoint
        transport = layout.transport
        sourcePort = layout.sourcePort
        destinationPort = layout.destinationPort
        tcpFlags = layout.tcpFlags
        protocolNumber = layout.protocolNumber
        version = layout.version
        isFragment = layout.isKeyedAsFragment
    }

    @inlinable var isTCP: Bool { protocolNumber == IPProtocol.tcp }

    /// It is an ICMP error, which quotes the packet that it is about.
    ///
    /// - Parameter view: ends with the packet.
    func quotes(_ view: PacketView) -> Bool {
        !isFragment && view.count > transport
            && protocolNumber == (version == 4 ? IPProtocol.icmp : IPProtocol.icmpv6)
            && ICMPHeader.quotes(type: view.u8(transport), version: version)
    }

    /// It runs from the low end of its flow key to the high one. Not of fragments.
    @inlinable var isLow: Bool {
        FlowKey.isLow(source, sourcePort, destination, destinationPort)
    }
}
