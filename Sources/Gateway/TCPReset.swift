import Verification
import Wire

/// The reset by which GWLB tells a host that it no longer carries a connection.
enum TCPReset {
    private static let timeToLive: UInt8 = 64

    /// Turns the packet into the reset that answers it (RFC 9293 §3.10.7.1), for its sender.
    ///
    /// - Parameter inner: what was read of the packet.
    /// - Returns: the reset's length, from `inner.start` on; nil when the packet is no whole TCP
    ///   header, opens a connection, or is a reset itself.
    static func answer(_ view: PacketView, _ inner: InnerPacket) -> Int? {
        guard isAnswered(inner), let tcp = TCPHeader(view, at: inner.transport) else { return nil }
        let data = max(0, inner.end - inner.transport - tcp.headerLength)
        let end = tcp.sequence &+ UInt32(data) &+ (tcp.flags & TCPFlag.fin != 0 ? 1 : 0)
        let hasACK = tcp.flags & TCPFlag.ack != 0
        var reset = TCPHeader()
        reset.sourcePort = tcp.destinationPort
        reset.destinationPort = tcp.sourcePort
        reset.sequence = hasACK ? tcp.acknowledgement : 0
        reset.acknowledgement = hasACK ? 0 : end
        reset.flags = hasACK ? TCPFlag.rst : TCPFlag.rst | TCPFlag.ack
        let at = writeIP(view, inner)
        reset.write(to: view, at: at)
        var sum = InternetChecksum()
        sum.addPseudoHeader(
            of: view, at: inner.start, version: inner.version, IPProtocol.tcp,
            length: TCPHeader.minimumLength)
        sum.add(view, at: at, count: TCPHeader.minimumLength)
        view.set16(at + 16, sum.checksum)
        return at + TCPHeader.minimumLength - inner.start
    }

    static func isAnswered(_ inner: InnerPacket) -> Bool {
        inner.protocolNumber == IPProtocol.tcp && !inner.isFragment
            && inner.tcpFlags & (TCPFlag.syn | TCPFlag.rst) == 0
    }

    /// A header without options, addresses swapped. Returns where TCP stands behind it.
    private static func writeIP(_ view: PacketView, _ inner: InnerPacket) -> Int {
        guard inner.version == 4 else {
            var ip = IPv6Header()
            ip.payloadLength = UInt16(TCPHeader.minimumLength)
            ip.nextHeader = IPProtocol.tcp
            ip.hopLimit = timeToLive
            ip.source = inner.destination
            ip.destination = inner.source
            ip.write(to: view, at: inner.start)
            return inner.start + IPv6Header.length
        }
        var ip = IPv4Header()
        ip.totalLength = UInt16(IPv4Header.minimumLength + TCPHeader.minimumLength)
        ip.flagsAndOffset = 0x4000
        ip.timeToLive = timeToLive
        ip.protocolNumber = IPProtocol.tcp
        ip.source = UInt32(inner.destination.low)
        ip.destination = UInt32(inner.source.low)
        ip.write(to: view, at: inner.start)
        IPv4Header.writeChecksum(view, at: inner.start, length: IPv4Header.minimumLength)
        return inner.start + IPv4Header.minimumLength
    }
}
