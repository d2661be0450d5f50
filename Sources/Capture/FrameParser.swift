import Wire

/// Finds the IP packet in a frame, and what it is to an appliance.
enum FrameParser {
    static func content(of record: CaptureParser.Record) -> CaptureFrame.Content {
        guard let link = LinkType(rawValue: record.linkType) else {
            return .skipped(.linkType(record.linkType))
        }
        var bytes = record.bytes
        let isWhole = record.length <= bytes.count
        return withPacketView(&bytes) { view in
            guard let start = link.networkHeader(view, 0..<view.count) else {
                return .skipped(.notIP)
            }
            return content(view, record.bytes, start..<view.count, isWhole: isWhole)
        }
    }

    // ---- IP, and Geneve in it.

    /// An IP header's claims.
    private struct Datagram {
        var end: Int
        var payload: Int
        var isUDP: Bool
        var isFragment: Bool
        /// A fragment without the transport header.
        var isLaterFragment: Bool
        var ttl: UInt8
        var source: IPv6Address
        var destination: IPv6Address
        /// Merged by the host, or to be split by its card: the header says 0.
        var hasNoLength = false
    }

    private enum Outcome {
        case datagram(Datagram)
        case notIP, truncated, malformed
    }

    private static func content(
        _ view: PacketView, _ bytes: [UInt8], _ range: Range<Int>, isWhole: Bool
    ) -> CaptureFrame.Content {
        switch readIP(view, range, isWhole: isWhole) {
        case .datagram(let outer):
            var packet = Array(bytes[range.lowerBound..<outer.end])
            if outer.hasNoLength { giveLength(&packet) }
            guard isGeneve(view, outer) else { return .plain(packet) }
            guard !outer.isFragment else { return .skipped(.outerFragment) }
            return .geneve(
                CaptureFrame.Encapsulated(
                    bytes: packet, source: outer.source, destination: outer.destination,
                    ttl: outer.ttl, inner: inner(view, outer, from: range.lowerBound)))
        case .notIP: return .skipped(.notIP)
        case .truncated: return .skipped(.truncated)
        case .malformed:
            return range.isEmpty ? .skipped(.malformed) : .malformed(Array(bytes[range]))
        }
    }

    private static func readIP(
        _ view: PacketView, _ range: Range<Int>, isWhole: Bool
    ) -> Outcome {
        guard !range.isEmpty else { return isWhole ? .malformed : .truncated }
        let start = range.lowerBound
        let tooShort = isWhole ? Outcome.malformed : .truncated
        switch view.u8(start) >> 4 {
        case 4:
            guard range.count >= IPv4Header.minimumLength, let ip = IPv4Header(view, at: start)
            else { return tooShort }
            let hasNoLength =
                ip.totalLength == 0 && ip.protocolNumber == IPProtocol.tcp && ip.headerLength >= 20
                && isWhole && range.count > shortestMerged
            guard hasNoLength || ip.isWellFormed(available: Int(UInt16.max)) else {
                return .malformed
            }
            guard hasNoLength || ip.isWellFormed(available: range.count) else {
                return tooShort
            }
            return .datagram(
                Datagram(
                    end: hasNoLength ? range.upperBound : start + Int(ip.totalLength),
                    payload: start + ip.headerLength,
                    isUDP: ip.protocolNumber == IPProtocol.udp, isFragment: ip.isFragment,
                    isLaterFragment: ip.fragmentOffset > 0, ttl: view.u8(start + 8),
                    source: IPv6Address(0, UInt64(ip.source)),
                    destination: IPv6Address(0, UInt64(ip.destination)), hasNoLength: hasNoLength))
        case 6:
            guard range.count >= IPv6Header.length, let ip = IPv6Header(view, at: start)
            else { return tooShort }
            guard ip.isWellFormed(available: range.count) else { return tooShort }
            let payload = start + IPv6Header.length
            return .datagram(
                Datagram(
                    end: payload + Int(ip.payloadLength), payload: payload,
                    isUDP: ip.nextHeader == IPProtocol.udp, isFragment: false,
                    isLaterFragment: false, ttl: ip.hopLimit, source: ip.source,
                    destination: ip.destination))
        default: return .notIP
        }
    }

    /// The usual Ethernet MTU: nobody merges what fits one frame.
    private static let shortestMerged = 1500

    /// The length and the checksum that the header would have. What no header can say stays 0.
    private static func giveLength(_ packet: inout [UInt8]) {
        guard packet.count <= Int(UInt16.max) else { return }
        withPacketView(&packet) { view in
            view.set16(2, UInt16(view.count))
            IPv4Header.writeChecksum(view, at: 0, length: Int(view.u8(0) & 0x0F) * 4)
        }
    }

    /// A first or only piece of UDP to port 6081.
    private static func isGeneve(_ view: PacketView, _ outer: Datagram) -> Bool {
        outer.isUDP && !outer.isLaterFragment
            && outer.end - outer.payload >= UDPHeader.length
            && view.u16(outer.payload + 2) == GeneveHeader.port
    }

    /// - Parameter start: of the outer packet.
    private static func inner(
        _ view: PacketView, _ outer: Datagram, from start: Int
    ) -> CaptureFrame.Encapsulated.Inner {
        let at = outer.payload + UDPHeader.length
        let claimed = outer.payload + Int(view.u16(outer.payload + 4))
        guard claimed >= at, claimed <= outer.end, claimed - at >= GeneveHeader.fixedLength,
            let geneve = GeneveHeader(view, at: at), geneve.version == 0,
            claimed - at >= geneve.length
        else { return .skipped(.malformed) }
        guard
            [GeneveHeader.protocolIPv4, GeneveHeader.protocolIPv6].contains(geneve.protocolType)
        else { return .skipped(.notIP) }
        let packet = at + geneve.length
        switch readIP(view, packet..<claimed, isWhole: true) {
        case .datagram(let inner): return .packet(packet - start..<inner.end - start)
        case .notIP: return .skipped(.notIP)
        case .truncated, .malformed: return .skipped(.malformed)
        }
    }
}
