import Wire

/// An outer packet in the making: right, until a field is changed. Nil = the right value.
struct MalformedDraft {
    let header: GatewayHeader

    var outerVersion = 4
    var outerWords = 5
    var outerLength: Int?
    var spoilsHeaderChecksum = false
    var udpLength: Int?
    var version = 0
    var optionWords: Int?
    /// O, C and six reserved bits.
    var flags = 0
    var protocolType: Int?
    var vni = 0
    var reserved = 0
    var options: [GeneveOptionDraft]
    var inner: [UInt8] = []
    /// Bytes of Geneve after which a right datagram ends.
    var geneveKeep: Int?
    /// Outer bytes that are sent, whatever the lengths say; negative counts from the end.
    var keep: Int?

    init(_ header: GatewayHeader) {
        self.header = header
        options = [
            GeneveOptionDraft(0x0108, 1, big(header.endpoint)),
            GeneveOptionDraft(0x0108, 2, big(header.attachment)),
            GeneveOptionDraft(0x0108, 3, big(header.cookie)),
        ]
        inner = ipv4(17, udpDatagram())
    }

    // ---- Inside: from the addresses that RFC 2544 sets aside for this, to the discard port.

    private static let source: [UInt8] = [198, 18, 0, 1]
    private static let destination: [UInt8] = [198, 19, 0, 1]
    /// 2001:2::/48, RFC 5180.
    private static let source6: [UInt8] = [0x20, 1, 0, 2] + [UInt8](repeating: 0, count: 11) + [1]
    private static let destination6: [UInt8] =
        [0x20, 1, 0, 2] + [UInt8](repeating: 0, count: 11) + [2]

    /// A datagram for IPv4, its checksum right.
    func udpDatagram() -> [UInt8] { udpDatagram(Self.source, Self.destination) }

    private func udpDatagram(_ source: [UInt8], _ destination: [UInt8]) -> [UInt8] {
        let text = Array("one fault in an otherwise fine packet".utf8)
        let ports = big(header.sourcePort) + big(9 as UInt16)
        var datagram = ports + big(UInt16(8 + text.count)) + [0, 0] + text
        set16(&datagram, 6, Int(udpChecksum(source, destination, datagram)))
        return datagram
    }

    /// A segment whose checksum is wrong.
    func tcpSegment(words: Int) -> [UInt8] {
        big(header.sourcePort) + big(9 as UInt16) + big(1 as UInt32) + big(1 as UInt32)
            + [UInt8(words << 4), 0x18, 0x20, 0, 0x12, 0x34, 0, 0] + Array("data".utf8)
    }

    func udp6() -> [UInt8] { ipv6(17, udpDatagram(Self.source6, Self.destination6)) }

    func ipv4(_ protocolNumber: Int, _ payload: [UInt8], options: [UInt8] = []) -> [UInt8] {
        let words = 5 + options.count / 4
        var packet: [UInt8] = [0x40 | UInt8(words), 0] + big(UInt16(words * 4 + payload.count))
        packet += [0, 1, 0, 0, 63, UInt8(protocolNumber), 0, 0]
        packet += Self.source + Self.destination + options
        set16(&packet, 10, Int(checksum(packet)))
        return packet + payload
    }

    func ipv6(_ nextHeader: Int, _ payload: [UInt8]) -> [UInt8] {
        [0x60, 0, 0, 0] + big(UInt16(payload.count)) + [UInt8(nextHeader), 63] + Self.source6
            + Self.destination6 + payload
    }

    // ---- Outside.

    func bytes(_ outerChecksum: OuterChecksum) -> [UInt8] {
        let optionBytes = options.flatMap(\.bytes)
        let innerType = inner.first.map { $0 >> 4 } == 6 ? 0x86DD : 0x0800
        var geneve: [UInt8] = [
            UInt8(version << 6 | (optionWords ?? optionBytes.count / 4)), UInt8(flags),
        ]
        geneve += big(UInt16(protocolType ?? innerType)) + big(UInt32(vni << 8 | reserved))
        geneve += optionBytes + inner
        if let geneveKeep { geneve = Array(geneve[0..<geneveKeep]) }

        var udp = big(header.sourcePort) + big(GeneveHeader.port)
        udp += big(UInt16(udpLength ?? 8 + geneve.count)) + [0, 0] + geneve
        if outerChecksum == .valid {
            set16(&udp, 6, Int(udpChecksum(big(header.node), big(header.target), udp)))
        }
        var packet: [UInt8] = [UInt8(outerVersion << 4 | outerWords), 0]
        packet += big(UInt16(outerLength ?? 20 + udp.count)) + [0, 0, 0, 0, 255, IPProtocol.udp]
        packet += [0, 0] + big(header.node) + big(header.target)
        set16(&packet, 10, Int(checksum(packet)) ^ (spoilsHeaderChecksum ? 0x5555 : 0))
        packet += udp
        if let keep { packet = Array(packet[0..<(keep < 0 ? packet.count + keep : keep)]) }
        return packet
    }
}

// ---- Bytes.

private func big<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
    (0..<T.bitWidth / 8).map { UInt8(truncatingIfNeeded: value >> (T.bitWidth - 8 - $0 * 8)) }
}

func set16(_ bytes: inout [UInt8], _ at: Int, _ value: Int) {
    bytes.replaceSubrange(at..<at + 2, with: big(UInt16(value)))
}

private func checksum(_ bytes: [UInt8]) -> UInt16 {
    var bytes = bytes
    return withPacketView(&bytes) { view in
        var sum = InternetChecksum()
        sum.add(view, at: 0, count: view.count)
        return sum.checksum
    }
}

/// Of a datagram whose checksum field is zero, with its pseudo-header; never zero.
private func udpChecksum(
    _ source: [UInt8], _ destination: [UInt8], _ datagram: [UInt8]
) -> UInt16 {
    var bytes = source + destination + datagram
    let sum = withPacketView(&bytes) { view in
        var sum = InternetChecksum()
        sum.add(view, at: 0, count: view.count)
        sum.addPseudoHeader(protocolNumber: IPProtocol.udp, length: datagram.count)
        return sum.checksum
    }
    return sum == 0 ? 0xFFFF : sum
}
