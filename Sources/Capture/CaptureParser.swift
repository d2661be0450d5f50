import Wire

/// Walks a capture file's bytes. Offsets count from the start of the file; every read stands
/// behind a guard against the end of the file, block or frame it belongs to.
struct CaptureParser {
    struct Fault: Error { var text: String }

    private(set) var sorter = FrameSorter()
    private(set) var isCutShort = false

    private var isLittleEndian = false
    /// Of the current pcapng section.
    private var interfaces: [Interface] = []

    private struct Interface {
        var link: LinkType
        /// SPB frames are cut to this; 0 = not limited.
        var snapLength: Int
        var clock = CaptureClock()
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
        guard let link = LinkType(rawValue: type) else { throw Fault(text: LinkType.unknown(type)) }
        let clock = CaptureClock(unitsPerSecond: unitsPerSecond)
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
            sorter.takeFrame(
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
            sorter.takeFrame(
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
        sorter.takeFrame(
            file, start..<start + captured, length: length, interface.link,
            time: interface.clock.nanoseconds(time))
    }

    private mutating func addInterface(_ file: PacketView, _ body: Range<Int>) throws(Fault) {
        guard interfaces.count < Self.mostInterfaces else {
            throw Fault(text: "more than \(Self.mostInterfaces) interfaces")
        }
        let type = UInt32(number16(file, body.lowerBound))
        guard let link = LinkType(rawValue: type) else { throw Fault(text: LinkType.unknown(type)) }
        var interface = Interface(
            link: link, snapLength: Int(number32(file, body.lowerBound + 4)))
        // Options: code, length, value padded to 4 bytes.
        var at = body.lowerBound + 8
        while body.upperBound - at >= 4 {
            let code = number16(file, at)
            let length = Int(number16(file, at + 2))
            guard code != 0, body.upperBound - at - 4 >= length else { break }
            if code == 9, length == 1 {
                guard let clock = CaptureClock(resolution: file.u8(at + 4)) else {
                    throw Fault(text: "interface with an impossible clock at byte \(at)")
                }
                interface.clock = clock
            }
            at += 4 + (length + 3) & ~3
        }
        interfaces.append(interface)
    }

    private func hex(_ word: UInt32) -> String {
        let digits = String(word, radix: 16)
        return String(repeating: "0", count: 8 - digits.count) + digits
    }
}
