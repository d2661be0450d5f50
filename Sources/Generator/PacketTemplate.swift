import CSluice
import Gateway
import Wire

/// An outer packet that is complete but for what differs from packet to packet of one class and
/// size: those fields are zero, and the sums over all the rest are known, so that writing a packet
/// costs a copy and some additions.
///
/// Offsets count from the first byte of the outer IPv4 header; -1 = has no such field.
struct PacketTemplate {
    /// `length` bytes, never freed, never changed after the start.
    var bytes: UnsafeMutableRawPointer
    /// Outer IPv4 total length.
    var length: Int
    /// 4 or 6.
    var version: UInt8
    /// Where the last 32 bits of the inner addresses stand.
    var source: Int
    var destination: Int
    /// Where the transport header starts.
    var transport: Int
    /// Ports (client's first), identifier and sequence, or none.
    var layout: Layout
    /// Port of the server.
    var serverPort: UInt16 = 0
    /// Type of an echo request and of its reply.
    var echoTypes: (UInt8, UInt8) = (0, 0)
    /// TCP payload bytes: how far its sequence numbers advance.
    var segment: UInt32 = 0
    /// The transport checksum, and whether it covers the addresses.
    var checksum = -1
    var usesPseudoHeader = false
    /// The IPv4 or IPv6 fragment's identification: 2 or 4 bytes.
    var identification = -1
    /// The last four bytes at an even offset: the packet's stamp.
    var stamp: Int
    /// A stamp after its own complement: it adds nothing to a checksum.
    var stampIsNeutral = false

    // Sums over what never changes: outer header, outer UDP checksum's, inner header, transport.
    var outerHeaderSum = InternetChecksum()
    var outerSum = InternetChecksum()
    var innerHeaderSum = InternetChecksum()
    var transportSum = InternetChecksum()
    /// The outer UDP checksum is computed; else it stays zero.
    var hasOuterChecksum: Bool

    /// Index of the class.
    var trafficClass: UInt8
    /// What should come back: number of another template, of this one, or -1 for nothing.
    var answer: Int32 = -1
    /// The policy drops every fifth by its sequence number.
    var dropsEveryFifth = false

    enum Layout: UInt8, BitwiseCopyable { case ports, echo, none }

    /// Writes a packet of a flow, the `sequence`-th in its direction.
    /// - Parameters:
    ///   - isReply: from server to client.
    ///   - mark: the packet's stamp, or any other 32 bits.
    ///   - out: room for `length` bytes.
    @inline(__always)
    func write(
        _ flow: FlowIdentity, isReply: Bool, mark: UInt32, sequence: UInt32,
        to out: UnsafeMutableRawPointer
    ) {
        sluice_copy(out, bytes, length)
        let view = PacketView(unsafeBase: out, count: length)
        let innerHeader = writeInnerHeader(flow, isReply, sequence, view)
        let inner = writeTransport(flow, isReply, mark, sequence, innerHeader, view)

        view.set32(12, flow.node)
        var header = outerHeaderSum
        header.add(flow.node)
        view.set16(10, header.checksum)
        view.set16(20, flow.port)
        view.set64(40, flow.endpoint)
        view.set32(64, flow.cookie)
        guard hasOuterChecksum else { return }
        var sum = outerSum
        sum.add(inner)
        sum.add(flow.node)
        sum.add(flow.port)
        sum.add(UInt32(truncatingIfNeeded: flow.endpoint >> 32))
        sum.add(UInt32(truncatingIfNeeded: flow.endpoint))
        sum.add(flow.cookie)
        // RFC 768: a computed zero is sent as all ones.
        view.set16(26, sum.checksum == 0 ? 0xFFFF : sum.checksum)
    }

    /// Addresses, identification and IPv4 checksum. Returns the sum of the addresses, and that of
    /// all it wrote.
    @inline(__always)
    private func writeInnerHeader(
        _ flow: FlowIdentity, _ isReply: Bool, _ sequence: UInt32, _ view: PacketView
    ) -> (addresses: InternetChecksum, all: InternetChecksum) {
        view.set32(source, isReply ? flow.server : flow.client)
        view.set32(destination, isReply ? flow.client : flow.server)
        var addresses = InternetChecksum()
        addresses.add(flow.client)
        addresses.add(flow.server)
        var all = addresses
        if identification >= 0 {
            // Both halves of a datagram have one.
            let value = sequence >> 1
            if version == 4 {
                view.set16(identification, UInt16(truncatingIfNeeded: value))
                all.add(UInt16(truncatingIfNeeded: value))
            } else {
                view.set32(identification, value)
                all.add(value)
            }
        }
        if version == 4 {
            var header = innerHeaderSum
            header.add(all)
            view.set16(Encapsulation.overhead + 10, header.checksum)
            all.add(header.checksum)
        }
        return (addresses, all)
    }

    /// The rest of the inner packet. Returns the sum of all inner fields that were written.
    @inline(__always)
    private func writeTransport(
        _ flow: FlowIdentity, _ isReply: Bool, _ mark: UInt32, _ sequence: UInt32,
        _ header: (addresses: InternetChecksum, all: InternetChecksum), _ view: PacketView
    ) -> InternetChecksum {
        var fields = InternetChecksum()
        switch layout {
        case .ports:
            let client = UInt32(flow.clientPort)
            let server = UInt32(serverPort)
            let ports = isReply ? server << 16 | client : client << 16 | server
            view.set32(transport, ports)
            fields.add(ports)
            if segment > 0 {
                let at = sequence &* segment
                view.set32(transport &+ 4, at)
                fields.add(at)
            }
        case .echo:
            let type = UInt16(isReply ? echoTypes.1 : echoTypes.0) << 8
            view.set16(transport, type)
            fields.add(type)
            let echo = UInt32(flow.clientPort) << 16 | sequence & 0xFFFF
            view.set32(transport &+ 4, echo)
            fields.add(echo)
        case .none: break
        }
        view.set32(stamp, mark)
        if stampIsNeutral {
            view.set32(stamp &- 4, ~mark)
        } else {
            fields.add(mark)
        }
        var inner = header.all
        inner.add(fields)
        guard checksum >= 0 else { return inner }
        var sum = transportSum
        sum.add(fields)
        if usesPseudoHeader { sum.add(header.addresses) }
        // A computed zero is all ones for UDP (RFC 768); the others know no such rule, but for
        // them both are right.
        let value = sum.checksum == 0 && layout == .ports && segment == 0 ? 0xFFFF : sum.checksum
        view.set16(checksum, value)
        inner.add(value)
        return inner
    }
}
