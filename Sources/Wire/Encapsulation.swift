/// The 68 bytes that GWLB puts before an inner packet (docs/gateway.md):
///
///     0  outer IPv4  45, TOS 0, total length, ID 0, DF clear, TTL 255, UDP, checksum, addresses
///     20 outer UDP   flow's port, 6081, length, checksum
///     28 Geneve      version 0, Opt Len 8, O and C clear, protocol type, VNI 0
///     36 option 1    0108 01 02, endpoint id (8 bytes)
///     48 option 2    0108 02 02, attachment id (8 bytes)
///     60 option 3    0108 03 01, flow cookie (4 bytes)
///     68 inner IP packet
///
/// Nothing here allocates but `packet`.
public enum Encapsulation {
    /// All that stands before the inner packet, bytes.
    public static let overhead = 68
    /// Geneve header with its options, bytes.
    public static let geneveLength = 40
    /// Where the Geneve header stands.
    public static let geneveOffset = 28
    /// The longest inner packet that GWLB carries; longer ones it drops silently.
    public static let largestInner = 8500

    // Option headers (RFC 8926 §3.5): class 0x0108, type, length in words.
    static let endpointOption: UInt32 = 0x0108_0102
    static let attachmentOption: UInt32 = 0x0108_0202
    static let cookieOption: UInt32 = 0x0108_0301

    /// Writes the header in front of the inner packet.
    /// - Parameter view: the whole outer packet: 68 bytes to write, then the inner packet.
    public static func write(
        _ header: GatewayHeader, checksum: OuterChecksum, to view: PacketView
    ) {
        var sum = InternetChecksum()
        if checksum == .valid {
            sum.add(view, at: overhead, count: view.count - overhead)
        }
        write(header, innerSum: checksum == .valid ? sum : nil, to: view)
    }

    /// The same with the sum over the inner packet known already (a template's); nil writes a
    /// zero outer UDP checksum.
    public static func write(
        _ header: GatewayHeader, innerSum: InternetChecksum?, to view: PacketView
    ) {
        precondition(view.count >= overhead && view.count <= 0xFFFF)
        view.set16(0, 0x4500)
        view.set16(2, UInt16(truncatingIfNeeded: view.count))
        view.set32(4, 0)
        view.set16(8, 0xFF11)
        view.set32(12, header.node)
        view.set32(16, header.target)
        IPv4Header.writeChecksum(view, at: 0, length: 20)
        let udpLength = UInt16(truncatingIfNeeded: view.count &- 20)
        view.set16(20, header.sourcePort)
        view.set16(22, GeneveHeader.port)
        view.set16(24, udpLength)
        view.set16(26, 0)
        writeGeneve(header, to: view, at: geneveOffset)
        guard var sum = innerSum else { return }
        sum.addPseudoHeader(of: view, at: 0, version: 4, IPProtocol.udp, length: Int(udpLength))
        sum.add(view, at: 20, count: overhead - 20)
        // RFC 768: a computed zero is sent as all ones.
        view.set16(26, sum.checksum == 0 ? 0xFFFF : sum.checksum)
    }

    /// Writes the 40 bytes of Geneve header and options.
    public static func writeGeneve(_ header: GatewayHeader, to view: PacketView, at offset: Int) {
        precondition(offset >= 0 && view.count - offset >= geneveLength)
        view.set64(offset, firstWord(header))
        view.set32(offset + 8, endpointOption)
        view.set64(offset + 12, header.endpoint)
        view.set32(offset + 20, attachmentOption)
        view.set64(offset + 24, header.attachment)
        view.set32(offset + 32, cookieOption)
        view.set32(offset + 36, header.cookie)
    }

    /// True when the bytes at `offset` are the flow's Geneve header and options, all 40 of them.
    public static func hasGeneve(
        of header: GatewayHeader, _ view: PacketView, at offset: Int
    ) -> Bool {
        guard offset >= 0, view.count - offset >= geneveLength else { return false }
        return view.u64(offset) == firstWord(header)
            && view.u32(offset + 8) == endpointOption
            && view.u64(offset + 12) == header.endpoint
            && view.u32(offset + 20) == attachmentOption
            && view.u64(offset + 24) == header.attachment
            && view.u32(offset + 32) == cookieOption
            && view.u32(offset + 36) == header.cookie
    }

    /// The flow cookie where `write` puts it; nil when another option stands there.
    /// - Precondition: `geneveLength` bytes are there.
    @inlinable
    public static func cookie(_ view: PacketView, at geneve: Int) -> UInt32? {
        view.u32(geneve &+ 32) == 0x0108_0301 ? view.u32(geneve &+ 36) : nil
    }

    /// Version 0, Opt Len 8 words, no flags, protocol type, VNI 0, reserved 0.
    private static func firstWord(_ header: GatewayHeader) -> UInt64 {
        let type = header.innerVersion == 6 ? GeneveHeader.protocolIPv6 : GeneveHeader.protocolIPv4
        return 0x0800_0000_0000_0000 | UInt64(type) << 32
    }

    /// A whole outer packet around `inner`: for tests and cold paths.
    public static func packet(
        _ header: GatewayHeader, inner: [UInt8], checksum: OuterChecksum = .valid
    ) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: overhead) + inner
        withPacketView(&bytes) { write(header, checksum: checksum, to: $0) }
        return bytes
    }
}
