import CSluice
import Wire

/// A ones'-complement sum of some fields (RFC 1071), in the byte order of memory and not folded
/// before the end: 2^31 additions have room.
struct FieldSum: BitwiseCopyable {
    private var sum: UInt64 = 0

    init() {}

    init(_ sum: InternetChecksum) { self.sum = UInt64(sum.folded) }

    /// Fields in host order.
    @inline(__always)
    mutating func add(_ field: UInt16) { sum &+= UInt64(field.bigEndian) }
    @inline(__always)
    mutating func add(_ field: UInt32) { sum &+= UInt64(field.bigEndian) }
    @inline(__always)
    mutating func add(_ other: FieldSum) { sum &+= other.sum }

    /// The checksum field for this sum, in host order.
    @inline(__always)
    var checksum: UInt16 { ~folded.bigEndian }

    /// What was added contained a right checksum.
    @inline(__always)
    var verifies: Bool { folded == 0xFFFF }

    @inline(__always)
    private var folded: UInt16 {
        // A number added to its own halves swapped has their sum, carry included, in the upper one.
        let words = UInt32(truncatingIfNeeded: (sum &+ (sum << 32 | sum >> 32)) >> 32)
        return UInt16(truncatingIfNeeded: (words &+ (words << 16 | words >> 16)) >> 16)
    }
}

/// An outer packet that is complete but for what differs from packet to packet of one class and
/// size: those fields are zero, and the sums over all the rest are known, so that writing a packet
/// costs a copy and some additions.
///
/// Offsets count from the first byte of the outer IPv4 header; -1 = has no such field.
///
/// Copies share `bytes`, which the library that made them frees: safe as long as the library lives.
@safe struct PacketTemplate {
    /// `length` bytes, never changed after the start, freed with the library.
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
    var outerHeaderSum = FieldSum()
    var outerSum = FieldSum()
    var innerHeaderSum = FieldSum()
    var transportSum = FieldSum()
    /// The outer UDP checksum is computed; else it stays zero.
    var hasOuterChecksum: Bool

    /// Index of the class.
    var trafficClass: UInt8
    /// What should come back: number of another template, of this one, or -1 for nothing.
    var answer: Int32 = -1
    /// The policy drops every fifth by its sequence number.
    var dropsEveryFifth = false

    enum Layout: UInt8, BitwiseCopyable { case ports, echo, none }
}

/// Through a pointer, so that each field is read where it is needed and the template never copied.
extension UnsafeMutablePointer<PacketTemplate> {
    /// Writes a packet of a flow, the `sequence`-th in its direction.
    /// - Precondition: a template of a library that lives is there.
    /// - Parameters:
    ///   - isReply: from server to client.
    ///   - mark: the packet's stamp, or any other 32 bits.
    ///   - out: room for `length` bytes.
    ///   - holdsOne: a packet of this template is there: what differs, and only that, is written.
    @inline(__always)
    func write(
        _ flow: FlowIdentity, isReply: Bool, mark: UInt32, sequence: UInt32,
        to out: UnsafeMutableRawPointer, holdsOne: Bool = false
    ) {
        // Sound: the template has `length` bytes, and the caller gives room for as many.
        if !holdsOne { unsafe sluice_copy(out, pointee.bytes, pointee.length) }
        let view = unsafe PacketView(unsafeBase: out, count: pointee.length)
        let innerHeader = unsafe writeInnerHeader(flow, isReply, sequence, view)
        let inner = unsafe writeTransport(flow, isReply, mark, sequence, innerHeader, view)

        view.set32(12, flow.node)
        var header = unsafe pointee.outerHeaderSum
        header.add(flow.node)
        view.set16(10, header.checksum)
        view.set16(20, flow.port)
        view.set64(40, flow.endpoint)
        view.set32(64, flow.cookie)
        guard unsafe pointee.hasOuterChecksum else { return }
        var sum = unsafe pointee.outerSum
        sum.add(inner)
        sum.add(flow.node)
        sum.add(flow.port)
        sum.add(UInt32(truncatingIfNeeded: flow.endpoint >> 32))
        sum.add(UInt32(truncatingIfNeeded: flow.endpoint))
        sum.add(flow.cookie)
        // RFC 768: a computed zero is sent as all ones.
        let checksum = sum.checksum
        view.set16(26, checksum == 0 ? 0xFFFF : checksum)
    }

    /// Addresses, identification and IPv4 checksum. Returns the sum of the addresses, and that of
    /// all it wrote.
    @inline(__always)
    private func writeInnerHeader(
        _ flow: FlowIdentity, _ isReply: Bool, _ sequence: UInt32, _ view: PacketView
    ) -> (addresses: FieldSum, all: FieldSum) {
        // Sound: a template is there, as `write` needs.
        unsafe view.set32(pointee.source, isReply ? flow.server : flow.client)
        unsafe view.set32(pointee.destination, isReply ? flow.client : flow.server)
        var addresses = FieldSum()
        addresses.add(flow.client)
        addresses.add(flow.server)
        var all = addresses
        if unsafe pointee.identification >= 0 {
            // Both halves of a datagram have one.
            let value = sequence >> 1
            if unsafe pointee.version == 4 {
                unsafe view.set16(pointee.identification, UInt16(truncatingIfNeeded: value))
                all.add(UInt16(truncatingIfNeeded: value))
            } else {
                unsafe view.set32(pointee.identification, value)
                all.add(value)
            }
        }
        if unsafe pointee.version == 4 {
            var header = unsafe pointee.innerHeaderSum
            header.add(all)
            let checksum = header.checksum
            view.set16(Encapsulation.overhead + 10, checksum)
            all.add(checksum)
        }
        return (addresses, all)
    }

    /// The rest of the inner packet. Returns the sum of all inner fields that were written.
    @inline(__always)
    private func writeTransport(
        _ flow: FlowIdentity, _ isReply: Bool, _ mark: UInt32, _ sequence: UInt32,
        _ header: (addresses: FieldSum, all: FieldSum), _ view: PacketView
    ) -> FieldSum {
        // Sound: as writeInnerHeader.
        var fields = FieldSum()
        switch unsafe pointee.layout {
        case .ports:
            let client = UInt32(flow.clientPort)
            let server = unsafe UInt32(pointee.serverPort)
            let ports = isReply ? server << 16 | client : client << 16 | server
            unsafe view.set32(pointee.transport, ports)
            fields.add(ports)
            if unsafe pointee.segment > 0 {
                let at = unsafe sequence &* pointee.segment
                unsafe view.set32(pointee.transport &+ 4, at)
                fields.add(at)
            }
        case .echo:
            let type = unsafe UInt16(isReply ? pointee.echoTypes.1 : pointee.echoTypes.0) << 8
            unsafe view.set16(pointee.transport, type)
            fields.add(type)
            let echo = UInt32(flow.clientPort) << 16 | sequence & 0xFFFF
            unsafe view.set32(pointee.transport &+ 4, echo)
            fields.add(echo)
        case .none: break
        }
        unsafe view.set32(pointee.stamp, mark)
        if unsafe pointee.stampIsNeutral {
            unsafe view.set32(pointee.stamp &- 4, ~mark)
        } else {
            fields.add(mark)
        }
        var inner = header.all
        inner.add(fields)
        guard unsafe pointee.checksum >= 0 else { return inner }
        var sum = unsafe pointee.transportSum
        sum.add(fields)
        if unsafe pointee.usesPseudoHeader { sum.add(header.addresses) }
        // A computed zero is all ones for UDP (RFC 768); the others know no such rule, but for
        // them both are right.
        var value = sum.checksum
        if unsafe value == 0 && pointee.layout == .ports && pointee.segment == 0 { value = 0xFFFF }
        unsafe view.set16(pointee.checksum, value)
        inner.add(value)
        return inner
    }
}
