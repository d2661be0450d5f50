import Wire

/// Finds the IP packets in a capture's frames and sorts them: those inside Geneve, plain ones, and
/// what is skipped. Offsets count from the start of the file.
struct FrameSorter {
    private(set) var frames: [CaptureFile.Frame] = []
    private(set) var plain: [CaptureFile.Packet] = []
    private(set) var encapsulated: [CaptureFile.Packet] = []
    private(set) var skipped = CaptureFile.Skipped()

    /// Outer addresses that Geneve was sent to: what comes from them is on its way back.
    private var targets: Set<IPv6Address> = []

    /// - Parameter length: bytes that the frame had; more than are here when it was cut.
    mutating func takeFrame(
        _ file: PacketView, _ frame: Range<Int>, length: Int, _ link: LinkType, time: UInt64
    ) {
        let content: CaptureFile.Content
        if let start = link.networkHeader(file, frame) {
            content = takeIP(
                file, start..<frame.upperBound, isWhole: length <= frame.count, time: time)
        } else {
            skipped.notIP += 1
            content = .skipped(.notIP)
        }
        frames.append(
            CaptureFile.Frame(
                number: frames.count + 1, time: time, length: max(length, frame.count),
                content: content))
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
        var source: IPv6Address
        var destination: IPv6Address
    }

    private enum Outcome {
        case datagram(Datagram)
        case notIP, truncated, malformed
    }

    private func readIP(_ file: PacketView, _ range: Range<Int>, isWhole: Bool) -> Outcome {
        guard !range.isEmpty else { return isWhole ? .malformed : .truncated }
        let start = range.lowerBound
        let tooShort = isWhole ? Outcome.malformed : .truncated
        switch file.u8(start) >> 4 {
        case 4:
            guard range.count >= IPv4Header.minimumLength, let ip = IPv4Header(file, at: start)
            else { return tooShort }
            guard ip.isWellFormed(available: Int(UInt16.max)) else { return .malformed }
            guard ip.isWellFormed(available: range.count) else { return tooShort }
            return .datagram(
                Datagram(
                    end: start + Int(ip.totalLength), payload: start + ip.headerLength,
                    isUDP: ip.protocolNumber == IPProtocol.udp, isFragment: ip.isFragment,
                    isLaterFragment: ip.fragmentOffset > 0,
                    source: IPv6Address(0, UInt64(ip.source)),
                    destination: IPv6Address(0, UInt64(ip.destination))))
        case 6:
            guard range.count >= IPv6Header.length, let ip = IPv6Header(file, at: start)
            else { return tooShort }
            guard ip.isWellFormed(available: range.count) else { return tooShort }
            let payload = start + IPv6Header.length
            return .datagram(
                Datagram(
                    end: payload + Int(ip.payloadLength), payload: payload,
                    isUDP: ip.nextHeader == IPProtocol.udp, isFragment: false,
                    isLaterFragment: false, source: ip.source, destination: ip.destination))
        default: return .notIP
        }
    }

    private mutating func takeIP(
        _ file: PacketView, _ range: Range<Int>, isWhole: Bool, time: UInt64
    ) -> CaptureFile.Content {
        switch readIP(file, range, isWhole: isWhole) {
        case .datagram(let outer): return takeIP(file, outer, from: range.lowerBound, time: time)
        case .notIP:
            skipped.notIP += 1
            return .skipped(.notIP)
        case .truncated:
            skipped.truncated += 1
            return .skipped(.truncated)
        case .malformed:
            skipped.malformed += 1
            return range.isEmpty
                ? .skipped(.malformed) : .plain(CaptureFile.Packet(time: time, range: range))
        }
    }

    private mutating func takeIP(
        _ file: PacketView, _ outer: Datagram, from start: Int, time: UInt64
    ) -> CaptureFile.Content {
        let packet = CaptureFile.Packet(time: time, range: start..<outer.end)
        guard isGeneve(file, outer) else {
            plain.append(packet)
            return .plain(packet)
        }
        guard !outer.isFragment else {
            skipped.outerFragments += 1
            return .skipped(.outerFragment)
        }
        let isReturned = targets.contains(outer.source)
        takeGeneve(file, outer, time: time)
        return isReturned ? .skipped(.returned) : .geneve(packet)
    }

    /// A first or only piece of UDP to port 6081.
    private func isGeneve(_ file: PacketView, _ outer: Datagram) -> Bool {
        outer.isUDP && !outer.isLaterFragment
            && outer.end - outer.payload >= UDPHeader.length
            && file.u16(outer.payload + 2) == GeneveHeader.port
    }

    private mutating func takeGeneve(_ file: PacketView, _ outer: Datagram, time: UInt64) {
        let at = outer.payload + UDPHeader.length
        let claimed = outer.payload + Int(file.u16(outer.payload + 4))
        guard claimed >= at, claimed <= outer.end, claimed - at >= GeneveHeader.fixedLength,
            let geneve = GeneveHeader(file, at: at), geneve.version == 0,
            claimed - at >= geneve.length
        else {
            skipped.malformed += 1
            return
        }
        if targets.contains(outer.source) {
            skipped.returned += 1
            return
        }
        targets.insert(outer.destination)
        guard
            [GeneveHeader.protocolIPv4, GeneveHeader.protocolIPv6].contains(geneve.protocolType)
        else {
            skipped.notIP += 1
            return
        }
        let start = at + geneve.length
        switch readIP(file, start..<claimed, isWhole: true) {
        case .datagram(let inner):
            encapsulated.append(CaptureFile.Packet(time: time, range: start..<inner.end))
        case .notIP: skipped.notIP += 1
        case .truncated, .malformed: skipped.malformed += 1
        }
    }
}
