import Wire

/// A capture file: every frame of it, and the IP packets for replay, those inside Geneve when the
/// file holds Geneve, the plain ones otherwise.
///
/// Reads pcap (both byte orders, microseconds and nanoseconds) and pcapng, of Ethernet (with
/// VLAN tags), raw IP, Linux cooked (SLL, SLL2) and null/loopback links. Every length in the file
/// is hostile: it is held against the bytes that are there before it is used.
public struct CaptureFile: Sendable {
    /// One packet: an IP header and everything its length says.
    public struct Packet: Equatable, Sendable {
        /// Nanoseconds since 1970, or since whatever the file counts from.
        public var time: UInt64
        /// Where it stands in the file's bytes.
        fileprivate var range: Range<Int>
        /// Bytes.
        public var count: Int { range.count }
    }

    /// Frames of which no packet was taken, by reason.
    public struct Skipped: Equatable, Sendable {
        /// Neither IPv4 nor IPv6, ARP for one.
        public var notIP = 0
        /// Captured with fewer bytes than the packet had (tcpdump's `-s`).
        public var truncated = 0
        /// An impossible IP or Geneve header.
        public var malformed = 0
        /// Geneve in outer fragments, which are not put together.
        public var outerFragments = 0
        /// Plain packets beside Geneve: health checks, for one.
        public var plain = 0
        /// Geneve on the way back from the appliance: the same packets a second time.
        public var returned = 0

        public var total: Int {
            notIP + truncated + malformed + outerFragments + plain + returned
        }
    }

    /// One record of the file.
    public struct Frame: Equatable, Sendable {
        /// From 1 on, as Wireshark counts.
        public var number: Int
        /// As `Packet.time`.
        public var time: UInt64
        /// Bytes that the frame had on its link.
        public var length: Int
        public var content: Content
    }

    /// What a frame is to an appliance.
    public enum Content: Equatable, Sendable {
        /// An IP packet outside Geneve, malformed ones included.
        case plain(Packet)
        /// Geneve on the way to an appliance, whatever is in it: the whole outer IP packet.
        case geneve(Packet)
        case skipped(Reason)
    }

    /// Why a frame holds no packet to look at: see `Skipped`.
    public enum Reason: Equatable, Sendable {
        case notIP, truncated, malformed, outerFragment, returned
    }

    /// In the order of the file.
    public private(set) var frames: [Frame] = []
    /// In the order of the file.
    public private(set) var packets: [Packet] = []
    public private(set) var skipped = Skipped()
    /// The packets stood inside Geneve.
    public private(set) var isGeneve = false
    /// The file ends within a record, as one of a tcpdump that was killed does.
    public private(set) var isCutShort = false
    private let bytes: [UInt8]

    /// The longest file that is read, bytes.
    public static let largestFile = 1 << 30

    /// Reads a file. - Throws: what is wrong with it, by its name.
    public init(path: String, mayBeEmpty: Bool = false) throws(WholeFile.Failure) {
        try self.init(
            bytes: WholeFile.bytes(of: path, limit: Self.largestFile), name: path,
            mayBeEmpty: mayBeEmpty)
    }

    /// Reads a file's bytes; `name` is for the errors.
    ///
    /// - Parameter mayBeEmpty: a file without a packet to replay is no error.
    public init(
        bytes: [UInt8], name: String, mayBeEmpty: Bool = false
    ) throws(WholeFile.Failure) {
        var bytes = bytes
        var parser = CaptureParser()
        do throws(CaptureParser.Fault) {
            try withPacketView(&bytes) { view throws(CaptureParser.Fault) in
                try parser.read(view)
            }
        } catch {
            throw WholeFile.Failure(name, error.text)
        }
        self.bytes = bytes
        skipped = parser.skipped
        isCutShort = parser.isCutShort
        isGeneve = !parser.encapsulated.isEmpty
        packets = isGeneve ? parser.encapsulated : parser.plain
        if isGeneve { skipped.plain = parser.plain.count }
        frames = parser.frames
        guard !packets.isEmpty || mayBeEmpty else {
            throw WholeFile.Failure(
                name, "holds no IP packet that can be replayed (\(skipped.total) frames skipped)")
        }
    }

    /// The bytes of a packet.
    public func bytes(of packet: Packet) -> ArraySlice<UInt8> { bytes[packet.range] }
}

/// Walks a capture file's bytes. Offsets count from the start of the file; every read stands
/// behind a guard against the end of the file, block or frame it belongs to.
private struct CaptureParser {
    struct Fault: Error { var text: String }

    var frames: [CaptureFile.Frame] = []
    var plain: [CaptureFile.Packet] = []
    var encapsulated: [CaptureFile.Packet] = []
    var skipped = CaptureFile.Skipped()
    var isCutShort = false

    /// Outer addresses that Geneve was sent to: what comes from them is on its way back.
    private var targets: Set<IPv6Address> = []
    private var isLittleEndian = false
    /// Of the current pcapng section.
    private var interfaces: [Interface] = []

    private struct Interface {
        var link: Link
        /// SPB frames are cut to this; 0 = not limited.
        var snapLength: Int
        var clock = Clock()
    }

    /// libpcap's MAXIMUM_SNAPLEN: no capture has longer frames, whatever it claims.
    private static let longestFrame = 262_144
    /// More interfaces than any machine that captures has.
    private static let mostInterfaces = 65_536

    // ---- The file.

    mutating func read(_ file: PacketView) throws(Fault) {
        guard file.count >= 4 else {
            throw Fault(text: "\(file.count) bytes, too short for a capture file")
        }
        // As the bytes lie in the file: a little-endian machine writes d4 c3 b2 a1.
        switch file.u32(0) {
        case 0xA1B2_C3D4: try readPcap(file, unitsPerSecond: 1_000_000)
        case 0xA1B2_3C4D: try readPcap(file, unitsPerSecond: 1_000_000_000)
        case 0xD4C3_B2A1:
            isLittleEndian = true
            try readPcap(file, unitsPerSecond: 1_000_000)
        case 0x4D3C_B2A1:
            isLittleEndian = true
            try readPcap(file, unitsPerSecond: 1_000_000_000)
        case Block.section: try readPcapng(file)
        case let magic where magic >> 16 == 0x1F8B:
            throw Fault(text: "compressed by gzip: decompress it first (gunzip)")
        case 0x28B5_2FFD:
            throw Fault(text: "compressed by zstd: decompress it first (unzstd)")
        default:
            throw Fault(text: "neither pcap nor pcapng (starts with \(hex(file.u32(0))))")
        }
    }

    private func number16(_ view: PacketView, _ at: Int) -> UInt16 {
        isLittleEndian ? view.u16(at).byteSwapped : view.u16(at)
    }

    private func number32(_ view: PacketView, _ at: Int) -> UInt32 {
        isLittleEndian ? view.u32(at).byteSwapped : view.u32(at)
    }

    // ---- pcap (draft-ietf-opsawg-pcap): a header of 24 bytes, then records.
    //
    //     header  magic, version major and minor (16 bits each), two unused words, snap length,
    //             link type (low 16 bits)
    //     record  seconds, fraction, captured length, original length, the frame

    private mutating func readPcap(_ file: PacketView, unitsPerSecond: UInt64) throws(Fault) {
        guard file.count >= 24 else { throw Fault(text: "ends within the pcap header") }
        let major = number16(file, 4)
        guard major == 2 else { throw Fault(text: "pcap version \(major), only 2 is read") }
        let type = number32(file, 20) & 0xFFFF
        guard let link = Link(rawValue: type) else { throw Fault(text: Link.unknown(type)) }
        let clock = Clock(unitsPerSecond: unitsPerSecond)
        var at = 24
        var record = 1
        while at < file.count {
            guard file.count - at >= 16 else { isCutShort = true; return }
            let seconds = UInt64(number32(file, at))
            let fraction = UInt64(number32(file, at + 4))
            let captured = number32(file, at + 8)
            guard captured <= Self.longestFrame else {
                throw Fault(text: "record \(record) at byte \(at) claims \(captured) bytes")
            }
            let length = number32(file, at + 12)
            let start = at + 16
            guard file.count - start >= Int(captured) else { isCutShort = true; return }
            takeFrame(
                file, start..<start + Int(captured), length: Int(length), link,
                time: clock.nanoseconds(seconds &* unitsPerSecond &+ fraction))
            at = start + Int(captured)
            record += 1
        }
    }

    // ---- pcapng (draft-ietf-opsawg-pcapng): blocks.
    //
    //     type, total length, body, total length again; padded to a multiple of 4

    private enum Block {
        static let section: UInt32 = 0x0A0D_0D0A
        static let interface: UInt32 = 1
        static let obsoletePacket: UInt32 = 2
        static let simplePacket: UInt32 = 3
        static let enhancedPacket: UInt32 = 6
        /// Type and length before the body.
        static let header = 8
        /// With the length after it.
        static let frame = 12
    }

    private mutating func readPcapng(_ file: PacketView) throws(Fault) {
        var at = 0
        while at < file.count {
            guard file.count - at >= Block.frame else { isCutShort = true; return }
            // Reads alike in both byte orders; each section says its own.
            if file.u32(at) == Block.section {
                switch file.u32(at + 8) {
                case 0x1A2B_3C4D: isLittleEndian = false
                case 0x4D3C_2B1A: isLittleEndian = true
                default: throw Fault(text: "section at byte \(at) has no byte-order magic")
                }
            }
            let length = Int(number32(file, at + 4))
            guard length >= Block.frame, length % 4 == 0 else {
                throw Fault(text: "block at byte \(at) claims \(length) bytes")
            }
            guard file.count - at >= length else { isCutShort = true; return }
            guard Int(number32(file, at + length - 4)) == length else {
                throw Fault(text: "block at byte \(at) has two lengths")
            }
            try readBlock(
                file, number32(file, at), at + Block.header..<at + length - 4)
            at += length
        }
    }

    private mutating func readBlock(
        _ file: PacketView, _ type: UInt32, _ body: Range<Int>
    ) throws(Fault) {
        func need(_ count: Int, _ what: String) throws(Fault) {
            guard body.count >= count else {
                throw Fault(text: "\(what) at byte \(body.lowerBound - Block.header) is too short")
            }
        }
        let start = body.lowerBound
        switch type {
        case Block.section:
            try need(16, "section")
            let major = number16(file, start + 4)
            guard major == 1 else { throw Fault(text: "pcapng version \(major), only 1 is read") }
            interfaces = []
        case Block.interface:
            try need(8, "interface")
            try addInterface(file, body)
        case Block.enhancedPacket:
            try need(20, "packet")
            let id = Int(number32(file, start))
            try takePacket(file, interface: id, times: start + 4, lengths: start + 12, body)
        case Block.obsoletePacket:
            try need(20, "packet")
            let id = Int(number16(file, start))
            try takePacket(file, interface: id, times: start + 4, lengths: start + 12, body)
        case Block.simplePacket:
            try need(4, "packet")
            let interface = try interface(0, at: start)
            let length = Int(number32(file, start))
            var captured = min(length, body.count - 4)
            if interface.snapLength > 0 { captured = min(captured, interface.snapLength) }
            takeFrame(
                file, start + 4..<start + 4 + captured, length: length, interface.link, time: 0)
        default: break
        }
    }

    private func interface(_ id: Int, at byte: Int) throws(Fault) -> Interface {
        guard interfaces.indices.contains(id) else {
            throw Fault(
                text: "packet at byte \(byte - Block.header) names interface \(id) "
                    + "of \(interfaces.count)")
        }
        return interfaces[id]
    }

    /// - Parameters:
    ///   - times: where the timestamp's two words stand, the high one first.
    ///   - lengths: where the captured and the original length stand, before the frame.
    private mutating func takePacket(
        _ file: PacketView, interface id: Int, times: Int, lengths: Int, _ body: Range<Int>
    ) throws(Fault) {
        let interface = try interface(id, at: body.lowerBound)
        let captured = Int(number32(file, lengths))
        let length = Int(number32(file, lengths + 4))
        let start = lengths + 8
        guard captured <= body.upperBound - start, captured <= Self.longestFrame else {
            throw Fault(
                text: "packet at byte \(body.lowerBound - Block.header) claims \(captured) bytes")
        }
        let time = UInt64(number32(file, times)) << 32 | UInt64(number32(file, times + 4))
        takeFrame(
            file, start..<start + captured, length: length, interface.link,
            time: interface.clock.nanoseconds(time))
    }

    private mutating func addInterface(_ file: PacketView, _ body: Range<Int>) throws(Fault) {
        guard interfaces.count < Self.mostInterfaces else {
            throw Fault(text: "more than \(Self.mostInterfaces) interfaces")
        }
        let type = UInt32(number16(file, body.lowerBound))
        guard let link = Link(rawValue: type) else { throw Fault(text: Link.unknown(type)) }
        var interface = Interface(
            link: link, snapLength: Int(number32(file, body.lowerBound + 4)))
        // Options: code, length, value padded to 4 bytes.
        var at = body.lowerBound + 8
        while body.upperBound - at >= 4 {
            let code = number16(file, at)
            let length = Int(number16(file, at + 2))
            guard code != 0, body.upperBound - at - 4 >= length else { break }
            if code == 9, length == 1 {
                guard let clock = Clock(resolution: file.u8(at + 4)) else {
                    throw Fault(text: "interface with an impossible clock at byte \(at)")
                }
                interface.clock = clock
            }
            at += 4 + (length + 3) & ~3
        }
        interfaces.append(interface)
    }

    // ---- The link header.

    /// By number in the registry of link types (tcpdump.org/linktypes.html).
    private enum Link: UInt32 {
        case null = 0
        case ethernet = 1
        // DLT_RAW has these numbers on some systems.
        case rawBSD = 12
        case rawOpenBSD = 14
        case raw = 101
        case loop = 108
        case cooked = 113
        case rawIPv4 = 228
        case rawIPv6 = 229
        case cooked2 = 276

        static func unknown(_ type: UInt32) -> String {
            "link type \(type) is not read, only Ethernet, raw IP, Linux cooked and loopback"
        }
    }

    /// - Parameter length: bytes that the frame had; more than are here when it was cut.
    private mutating func takeFrame(
        _ file: PacketView, _ frame: Range<Int>, length: Int, _ link: Link, time: UInt64
    ) {
        let content: CaptureFile.Content
        if let start = networkHeader(file, frame, link) {
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

    /// Where the IP header stands; nil for what is not IP.
    private func networkHeader(_ file: PacketView, _ frame: Range<Int>, _ link: Link) -> Int? {
        let start = frame.lowerBound
        func payload(_ etherType: Int, _ header: Int) -> Int? {
            guard frame.count >= header else { return nil }
            return untagged(file, type: start + etherType, payload: start + header, frame)
        }
        switch link {
        case .ethernet: return payload(12, 14)
        case .cooked: return payload(14, 16)
        case .cooked2: return payload(0, 20)
        case .raw, .rawBSD, .rawOpenBSD, .rawIPv4, .rawIPv6: return start
        case .null, .loop:
            // An address family, of which only the numbers differ by system, and for `null`
            // the byte order; the IP version is what counts.
            return frame.count >= 4 ? start + 4 : nil
        }
    }

    /// Passes VLAN tags (IEEE 802.1Q, 802.1ad), at most four.
    private func untagged(
        _ file: PacketView, type: Int, payload: Int, _ frame: Range<Int>
    ) -> Int? {
        var type = type
        var payload = payload
        for _ in 0...4 {
            switch file.u16(type) {
            case GeneveHeader.protocolIPv4, GeneveHeader.protocolIPv6: return payload
            case 0x8100, 0x88A8, 0x9100:
                guard frame.upperBound - payload >= 4 else { return nil }
                type = payload + 2
                payload += 4
            default: return nil
            }
        }
        return nil
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

    private func hex(_ word: UInt32) -> String {
        let digits = String(word, radix: 16)
        return String(repeating: "0", count: 8 - digits.count) + digits
    }
}

/// What a capture counts time in.
private struct Clock {
    /// At least 1.
    var unitsPerSecond: UInt64 = 1_000_000

    init(unitsPerSecond: UInt64 = 1_000_000) { self.unitsPerSecond = unitsPerSecond }

    /// pcapng's if_tsresol: a negative power of 10, or of 2 with the top bit set. Nil when it is
    /// finer than 64 bits can count.
    init?(resolution: UInt8) {
        let exponent = Int(resolution & 0x7F)
        if resolution & 0x80 != 0 {
            guard exponent < 64 else { return nil }
            unitsPerSecond = 1 << UInt64(exponent)
        } else {
            guard exponent < 20 else { return nil }
            unitsPerSecond = (0..<exponent).reduce(1) { power, _ in power * 10 }
        }
    }

    /// Saturates at the end of 64 bits, the year 2554.
    func nanoseconds(_ units: UInt64) -> UInt64 {
        let (high, low) = units.multipliedFullWidth(by: 1_000_000_000)
        guard high < unitsPerSecond else { return .max }
        return unitsPerSecond.dividingFullWidth((high, low)).quotient
    }
}
