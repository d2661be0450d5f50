/// Walks a capture file, record by record. Every read stands behind a guard against the end of the
/// file or of the block it belongs to.
struct CaptureParser {
    struct Fault: Error { var text: String }

    /// A frame as the file has it.
    struct Record {
        var linkType: UInt32
        /// Nanoseconds.
        var time: UInt64
        /// Bytes that the frame had; more than are here when it was cut.
        var length: Int
        var bytes: [UInt8]
    }

    /// The file ends within a record, or became shorter while it was read.
    private(set) var isCutShort = false

    private enum Format { case unknown, pcap, pcapng }

    private let file: FileWindow
    private var format = Format.unknown
    /// The next record or block.
    private var at = 0
    private var number = 0
    private var isLittleEndian = false
    /// Of pcap the only one, of pcapng those of the current section.
    private var interfaces: [Interface] = []

    private struct Interface {
        var linkType: UInt32
        /// SPB frames are cut to this; 0 = not limited.
        var snapLength: Int
        var clock = CaptureClock()
    }

    /// libpcap's MAXIMUM_SNAPLEN is 262144; packets that Linux merges are up to 524280 bytes long.
    private static let longestFrame = 1 << 20
    /// More interfaces than any machine that captures has.
    private static let mostInterfaces = 65_536

    init(_ file: FileWindow) { self.file = file }

    // ---- The file.

    /// Nil at its end.
    mutating func next() throws(Fault) -> Record? {
        if format == .unknown { try readHeader() }
        return switch format {
        case .pcap: try nextOfPcap()
        case .pcapng: try nextOfPcapng()
        case .unknown: nil
        }
    }

    private mutating func readHeader() throws(Fault) {
        guard let magic = bytes(0, 4).map({ number32($0, 0) }) else {
            throw Fault(text: "\(file.count) bytes, too short for a capture file")
        }
        // As the bytes lie in the file: a little-endian machine writes d4 c3 b2 a1.
        switch magic {
        case 0xA1B2_C3D4: try readPcapHeader(unitsPerSecond: 1_000_000)
        case 0xA1B2_3C4D: try readPcapHeader(unitsPerSecond: 1_000_000_000)
        case 0xD4C3_B2A1:
            isLittleEndian = true
            try readPcapHeader(unitsPerSecond: 1_000_000)
        case 0x4D3C_B2A1:
            isLittleEndian = true
            try readPcapHeader(unitsPerSecond: 1_000_000_000)
        case Block.section: format = .pcapng
        case _ where magic >> 16 == 0x1F8B:
            throw Fault(text: "compressed by gzip: decompress it first (gunzip)")
        case 0x28B5_2FFD:
            throw Fault(text: "compressed by zstd: decompress it first (unzstd)")
        default:
            throw Fault(text: "neither pcap nor pcapng (starts with \(hex(magic)))")
        }
    }

    /// Nil where the file ends before.
    private func bytes(_ start: Int, _ count: Int) -> ArraySlice<UInt8>? {
        guard start + count <= file.count else { return nil }
        return file.read(start..<start + count)
    }

    // In the file's byte order, `offset` bytes into a slice.

    private func number16(_ bytes: ArraySlice<UInt8>, _ offset: Int) -> UInt16 {
        let at = bytes.startIndex + offset
        let number = UInt16(bytes[at]) << 8 | UInt16(bytes[at + 1])
        return isLittleEndian ? number.byteSwapped : number
    }

    private func number32(_ bytes: ArraySlice<UInt8>, _ offset: Int) -> UInt32 {
        let at = bytes.startIndex + offset
        let number = bytes[at..<at + 4].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        return isLittleEndian ? number.byteSwapped : number
    }

    // ---- pcap (draft-ietf-opsawg-pcap): a header of 24 bytes, then records.
    //
    //     header  magic, version major and minor (16 bits each), two unused words, snap length,
    //             link type (low 16 bits)
    //     record  seconds, fraction, captured length, original length, the frame

    private mutating func readPcapHeader(unitsPerSecond: UInt64) throws(Fault) {
        guard let header = bytes(0, 24) else { throw Fault(text: "ends within the pcap header") }
        let major = number16(header, 4)
        guard major == 2 else { throw Fault(text: "pcap version \(major), only 2 is read") }
        let type = number32(header, 20) & 0xFFFF
        guard LinkType(rawValue: type) != nil else { throw Fault(text: LinkType.unknown(type)) }
        interfaces = [
            Interface(
                linkType: type, snapLength: 0, clock: CaptureClock(unitsPerSecond: unitsPerSecond))
        ]
        format = .pcap
        at = 24
    }

    private mutating func nextOfPcap() throws(Fault) -> Record? {
        guard at < file.count, !isCutShort else { return nil }
        number += 1
        guard let header = bytes(at, 16) else { return cut() }
        let captured = number32(header, 8)
        guard captured <= Self.longestFrame else {
            throw Fault(text: "record \(number) at byte \(at) claims \(captured) bytes")
        }
        let (seconds, fraction) = (UInt64(number32(header, 0)), UInt64(number32(header, 4)))
        let length = Int(number32(header, 12))
        guard let frame = bytes(at + 16, Int(captured)) else { return cut() }
        at += 16 + Int(captured)
        let clock = interfaces[0].clock
        return Record(
            linkType: interfaces[0].linkType,
            time: clock.nanoseconds(seconds &* clock.unitsPerSecond &+ fraction),
            length: length, bytes: Array(frame))
    }

    private mutating func cut() -> Record? {
        isCutShort = true
        return nil
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
        /// Of those whose bodies are read: a frame, and comments.
        static let longest = 16 << 20
        static let read = [section, interface, obsoletePacket, simplePacket, enhancedPacket]
    }

    private mutating func nextOfPcapng() throws(Fault) -> Record? {
        while at < file.count, !isCutShort {
            guard let header = bytes(at, Block.frame) else { return cut() }
            // Reads alike in both byte orders; each section says its own.
            if number32(header, 0) == Block.section {
                isLittleEndian = false
                switch number32(header, 8) {
                case 0x1A2B_3C4D: break
                case 0x4D3C_2B1A: isLittleEndian = true
                default: throw Fault(text: "section at byte \(at) has no byte-order magic")
                }
            }
            let type = number32(header, 0)
            let length = Int(number32(header, 4))
            let isRead = Block.read.contains(type)
            guard length >= Block.frame, length % 4 == 0, !isRead || length <= Block.longest else {
                throw Fault(text: "block at byte \(at) claims \(length) bytes")
            }
            guard let again = bytes(at + length - 4, 4) else { return cut() }
            guard Int(number32(again, 0)) == length else {
                throw Fault(text: "block at byte \(at) has two lengths")
            }
            defer { at += length }
            guard isRead else { continue }
            guard let body = bytes(at + Block.header, length - Block.frame) else { return cut() }
            if let record = try readBlock(type, body) { return record }
        }
        return nil
    }

    private mutating func readBlock(
        _ type: UInt32, _ body: ArraySlice<UInt8>
    ) throws(Fault) -> Record? {
        let start = at
        func need(_ count: Int, _ what: String) throws(Fault) {
            guard body.count >= count else {
                throw Fault(text: "\(what) at byte \(start) is too short")
            }
        }
        switch type {
        case Block.section:
            try need(16, "section")
            let major = number16(body, 4)
            guard major == 1 else { throw Fault(text: "pcapng version \(major), only 1 is read") }
            interfaces = []
        case Block.interface:
            try need(8, "interface")
            try addInterface(body)
        case Block.enhancedPacket:
            try need(20, "packet")
            return try packet(body, of: interface(Int(number32(body, 0))))
        case Block.obsoletePacket:
            try need(20, "packet")
            return try packet(body, of: interface(Int(number16(body, 0))))
        case Block.simplePacket:
            try need(4, "packet")
            let interface = try interface(0)
            let length = Int(number32(body, 0))
            var captured = min(length, body.count - 4)
            if interface.snapLength > 0 { captured = min(captured, interface.snapLength) }
            return Record(
                linkType: interface.linkType, time: 0, length: length,
                bytes: Array(body.dropFirst(4).prefix(captured)))
        default: break
        }
        return nil
    }

    private func interface(_ id: Int) throws(Fault) -> Interface {
        guard interfaces.indices.contains(id) else {
            throw Fault(
                text: "packet at byte \(at) names interface \(id) of \(interfaces.count)")
        }
        return interfaces[id]
    }

    /// An interface's id, the timestamp's two words, the high one first, the captured and the
    /// original length, the frame.
    private func packet(
        _ body: ArraySlice<UInt8>, of interface: Interface
    ) throws(Fault) -> Record {
        let captured = Int(number32(body, 12))
        guard captured <= body.count - 20, captured <= Self.longestFrame else {
            throw Fault(text: "packet at byte \(at) claims \(captured) bytes")
        }
        let time = UInt64(number32(body, 4)) << 32 | UInt64(number32(body, 8))
        return Record(
            linkType: interface.linkType, time: interface.clock.nanoseconds(time),
            length: Int(number32(body, 16)), bytes: Array(body.dropFirst(20).prefix(captured)))
    }

    private mutating func addInterface(_ body: ArraySlice<UInt8>) throws(Fault) {
        guard interfaces.count < Self.mostInterfaces else {
            throw Fault(text: "more than \(Self.mostInterfaces) interfaces")
        }
        var interface = Interface(
            linkType: UInt32(number16(body, 0)), snapLength: Int(number32(body, 4)))
        // Options: code, length, value padded to 4 bytes.
        var offset = 8
        while body.count - offset >= 4 {
            let code = number16(body, offset)
            let length = Int(number16(body, offset + 2))
            guard code != 0, body.count - offset - 4 >= length else { break }
            if code == 9, length == 1 {
                guard let clock = CaptureClock(resolution: body[body.startIndex + offset + 4])
                else {
                    throw Fault(
                        text: "interface with an impossible clock at byte "
                            + "\(at + Block.header + offset)")
                }
                interface.clock = clock
            }
            offset += 4 + (length + 3) & ~3
        }
        interfaces.append(interface)
    }

    private func hex(_ word: UInt32) -> String {
        let digits = String(word, radix: 16)
        return String(repeating: "0", count: 8 - digits.count) + digits
    }
}
