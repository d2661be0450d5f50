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
        let at = writeIP(view, inner)
        view.set16(at, tcp.destinationPort)
        view.set16(at + 2, tcp.sourcePort)
        view.set32(at + 4, hasACK ? tcp.acknowledgement : 0)
        view.set32(at + 8, hasACK ? 0 : end)
        view.set8(at + 12, UInt8(TCPHeader.minimumLength / 4) << 4)
        view.set8(at + 13, hasACK ? TCPFlag.rst : TCPFlag.rst | TCPFlag.ack)
        view.set16(at + 14, 0)
        view.set32(at + 16, 0)
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
        let at = inner.start
        guard inner.version == 4 else {
            for i in stride(from: 8, to: 24, by: 8) {
                let word = view.u64(at + i)
                view.set64(at + i, view.u64(at + i + 16))
                view.set64(at + i + 16, word)
            }
            view.set32(at, 6 << 28)
            view.set16(at + 4, UInt16(TCPHeader.minimumLength))
            view.set8(at + 6, IPProtocol.tcp)
            view.set8(at + 7, timeToLive)
            return at + IPv6Header.length
        }
        let source = view.u32(at + 12)
        view.set32(at + 12, view.u32(at + 16))
        view.set32(at + 16, source)
        view.set16(at, 0x4500)
        view.set16(at + 2, UInt16(IPv4Header.minimumLength + TCPHeader.minimumLength))
        view.set32(at + 4, 0x4000)
        view.set8(at + 8, timeToLive)
        view.set8(at + 9, IPProtocol.tcp)
        view.set16(at + 10, 0)
        var sum = InternetChecksum()
        sum.add(view, at: at, count: IPv4Header.minimumLength)
        view.set16(at + 10, sum.checksum)
        return at + IPv4Header.minimumLength
    }
}
