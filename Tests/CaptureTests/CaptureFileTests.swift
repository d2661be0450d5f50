import Capture
import Foundation
import SluiceTesting
import Testing

/// Capture files that scapy, editcap and tcpdump made (Tests/Captures/make_captures.py), and ones
/// that nobody should make.
@Suite struct CaptureFileTests {
    static let folder = URL(filePath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().appending(path: "Captures")

    /// The IP packets that are in every file.
    static let packets: [[UInt8]] = try! String(
        contentsOf: folder.appending(path: "packets.hex"), encoding: .utf8
    ).split(separator: "\n").map { line in
        stride(from: 0, to: line.count, by: 2).map { at in
            let start = line.index(line.startIndex, offsetBy: at)
            return UInt8(line[start..<line.index(start, offsetBy: 2)], radix: 16)!
        }
    }

    static func file(_ name: String) throws -> [UInt8] {
        Array(try Data(contentsOf: folder.appending(path: name)))
    }

    static func capture(_ name: String) throws -> CaptureFile {
        try CaptureFile(path: folder.appending(path: name).path)
    }

    static func packets(of capture: CaptureFile) -> [[UInt8]] {
        capture.packets.map(\.bytes)
    }

    @Test(arguments: [
        "ethernet.pcap", "big-endian.pcap", "nanoseconds.pcap", "nanoseconds-big-endian.pcap",
        "raw.pcap", "cooked.pcap", "cooked2.pcap", "null.pcap", "loop.pcap", "ethernet.pcapng",
        "nanoseconds.pcapng", "tcpdump.pcap",
    ])
    func `every format and link type gives the same packets`(name: String) throws {
        let capture = try Self.capture(name)
        #expect(Self.packets(of: capture) == Self.packets)
        #expect(capture.skipped.total == 0 && !capture.isGeneve && !capture.isCutShort)
        let step: UInt64 = name.hasPrefix("nano") ? 1_000_001 : 1_001_000
        for (i, packet) in capture.packets.enumerated() {
            let second: UInt64 = 1_700_000_000 + UInt64(i)
            #expect(packet.time == second * 1_000_000_000 + step * UInt64(i + 1))
        }
    }

    @Test func `VLAN tags are passed, what is not IP is skipped`() throws {
        let capture = try Self.capture("vlan.pcap")
        #expect(Self.packets(of: capture) == Self.packets)
        #expect(capture.skipped.notIP == 1 && capture.skipped.total == 1)
    }

    @Test(arguments: ["geneve.pcap", "geneve.pcapng"])
    func `what is in Geneve is taken out, once`(name: String) throws {
        let capture = try Self.capture(name)
        #expect(capture.isGeneve)
        #expect(Self.packets(of: capture) == Self.packets)
        // The health check, the way back, and Ethernet in Geneve.
        #expect(capture.skipped.plain == 1)
        #expect(capture.skipped.returned == 1)
        #expect(capture.skipped.notIP == 1)
        #expect(capture.skipped.total == 3)
    }

    @Test func `frames cut by the snap length are skipped`() throws {
        // By `editcap -s 50`: the IPv6 packet is longer.
        let bytes = try Self.file("snapped.pcap")
        let capture = try CaptureFile(bytes: bytes, name: "snapped.pcap")
        #expect(Self.packets(of: capture) == Self.packets.filter { $0.count + 14 <= 50 })
        #expect(capture.skipped.truncated == 1 && capture.skipped.total == 1)
    }

    @Test func `Ethernet padding is no part of the packet`() throws {
        var bytes = try Self.file("ethernet.pcap")
        // The last frame, and its two lengths, by 20 bytes.
        let last = 14 + Self.packets.last!.count
        bytes += [UInt8](repeating: 0xAA, count: 20)
        let record = bytes.count - 20 - last - 16
        bytes[record + 8] += 20
        bytes[record + 12] += 20
        let capture = try CaptureFile(bytes: bytes, name: "padded")
        #expect(Self.packets(of: capture) == Self.packets)
    }

    @Test(arguments: ["ethernet.pcap", "ethernet.pcapng"])
    func `a file that ends within a record gives what is before`(name: String) throws {
        let bytes = try Self.file(name)
        let capture = try CaptureFile(bytes: Array(bytes.dropLast()), name: "cut")
        #expect(capture.isCutShort)
        // editcap ends with a block of statistics.
        #expect(Self.packets(of: capture).starts(with: Self.packets.prefix(2)))
    }

    @Test(
        arguments: [
            ([], "0 bytes, too short for a capture file"),
            ([1, 2, 3, 4, 5], "neither pcap nor pcapng (starts with 01020304)"),
            ([0x1F, 0x8B, 8, 0, 0], "compressed by gzip: decompress it first (gunzip)"),
            ([0xD4, 0xC3, 0xB2, 0xA1, 2, 0], "ends within the pcap header"),
        ] as [([UInt8], String)])
    func `what is no capture is named`(bytes: [UInt8], text: String) {
        #expect(throws: WholeFile.Failure.self) { try CaptureFile(bytes: bytes, name: "f") }
        #expect(Self.complaint(bytes) == "f: \(text)")
    }

    static func complaint(_ bytes: [UInt8]) -> String? {
        do {
            _ = try CaptureFile(bytes: bytes, name: "f")
            return nil
        } catch { return error.description }
    }

    @Test func `impossible numbers in pcap are named`() throws {
        let good = try Self.file("ethernet.pcap")
        func changed(_ at: Int, _ bytes: [UInt8]) -> String? {
            var file = good
            file.replaceSubrange(at..<at + bytes.count, with: bytes)
            return Self.complaint(file)
        }
        #expect(changed(4, [3, 0]) == "f: pcap version 3, only 2 is read")
        #expect(
            changed(20, [105, 0])
                == "f: link type 105 is not read, only Ethernet, raw IP, Linux cooked and loopback")
        #expect(
            changed(32, [0xFF, 0xFF, 0xFF, 0xFF])
                == "f: record 1 at byte 24 claims 4294967295 bytes")
        // Nothing but ARP.
        let header = Array(good[0..<24])
        let arp =
            [UInt8](repeating: 0, count: 8) + [14, 0, 0, 0, 14, 0, 0, 0]
            + [UInt8](repeating: 2, count: 12) + [8, 6]
        #expect(
            Self.complaint(header + arp)
                == "f: holds no IP packet that can be replayed (1 frames skipped)")
    }

    @Test func `impossible numbers in pcapng are named`() throws {
        let section = Self.block(
            0x0A0D_0D0A,
            Self.little(0x1A2B_3C4D as UInt32) + [1, 0, 0, 0]
                + [UInt8](repeating: 0xFF, count: 8))
        let interface = Self.block(1, [101, 0, 0, 0, 0, 0, 0, 0])
        func packet(_ id: UInt8, claims: UInt8) -> [UInt8] {
            Self.block(
                6,
                [id, 0, 0, 0] + [UInt8](repeating: 0, count: 8)
                    + [claims, 0, 0, 0, claims, 0, 0, 0] + [0x45, 0, 0, 0])
        }
        #expect(
            Self.complaint(section + packet(0, claims: 4))
                == "f: packet at byte 28 names interface 0 of 0")
        #expect(
            Self.complaint(section + interface + packet(0, claims: 5))
                == "f: packet at byte 48 claims 5 bytes")
        #expect(
            Self.complaint(section + Self.block(6, [0, 0, 0, 0]))
                == "f: packet at byte 28 is too short")
        #expect(
            Self.complaint(section + Self.block(1, [])) == "f: interface at byte 28 is too short")
        var bytes = section + interface
        bytes[28 + 4] = 21
        #expect(Self.complaint(bytes) == "f: block at byte 28 claims 21 bytes")
        bytes[28 + 4] = 16
        #expect(Self.complaint(bytes) == "f: block at byte 28 has two lengths")
        // A clock of 10^-200 seconds.
        let clock = Self.block(1, [101, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 0, 127, 0, 0, 0])
        #expect(
            Self.complaint(section + clock) == "f: interface with an impossible clock at byte 44")
        bytes = section
        bytes[8] = 0
        #expect(Self.complaint(bytes) == "f: section at byte 0 has no byte-order magic")
    }

    @Test func `simple and obsolete packets, another clock, and a second section`() throws {
        let section = Self.block(
            0x0A0D_0D0A,
            Self.little(0x1A2B_3C4D as UInt32) + [1, 0, 0, 0]
                + [UInt8](repeating: 0xFF, count: 8))
        // Raw IP, time in 1/1024 seconds.
        let interface = Self.block(1, [101, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 0, 0x8A, 0, 0, 0])
        let ip = Self.packets[0]
        let length = Self.little(UInt32(ip.count))
        let simple = Self.block(3, length + ip)
        let obsolete = Self.block(
            2,
            [0, 0, 0, 0] + Self.little(0 as UInt32) + Self.little(1536 as UInt32) + length
                + length + ip)
        let custom = Self.block(0xBAD, [1, 2, 3, 4])
        let capture = try CaptureFile(
            bytes: section + interface + simple + custom + section + interface + obsolete, name: "f"
        )
        #expect(Self.packets(of: capture) == [ip, ip])
        #expect(capture.packets.map(\.time) == [0, 1_500_000_000])
    }

    /// Whatever the bytes are, the reader ends, and what it gives are whole IP packets.
    @Test func `changed, cut and random files are survived`() throws {
        var dice = SeededGenerator(seed: 7)
        let names = [
            "ethernet.pcap", "vlan.pcap", "cooked2.pcap", "geneve.pcapng", "nanoseconds.pcapng",
            "geneve.pcap", "null.pcap",
        ]
        let files = try names.map { try Self.file($0) }
        var read = 0
        for _ in 0..<20_000 {
            var bytes = files.randomElement(using: &dice)!
            for _ in 0..<Int.random(in: 1...4, using: &dice) {
                let at = Int.random(in: 0..<bytes.count, using: &dice)
                bytes[at] = [0, 0xFF, 0x80, UInt8.random(in: 0...255, using: &dice)]
                    .randomElement(using: &dice)!
            }
            if Bool.random(using: &dice) {
                bytes.removeLast(Int.random(in: 0..<bytes.count, using: &dice))
            }
            guard let capture = try? CaptureFile(bytes: bytes, name: "f") else { continue }
            read += 1
            for packet in Self.packets(of: capture) {
                let claimed =
                    packet[0] >> 4 == 4
                    ? Int(packet[2]) << 8 | Int(packet[3])
                    : 40 + (Int(packet[4]) << 8 | Int(packet[5]))
                #expect(packet.count == claimed)
            }
        }
        #expect(read > 1000)
    }

    @Test func `what is no file is named`() {
        #expect(Self.complaint(path: "/nonexistent") == "/nonexistent: No such file or directory")
        #expect(Self.complaint(path: "/tmp") == "/tmp: a directory, not a regular file")
    }

    @Test func `every frame says what it is`() throws {
        let frames = try Self.frames("geneve.pcap")
        let overview = try CaptureOverview(Self.reader("geneve.pcap"))
        #expect(frames.map(\.number) == Array(1...6) && overview.frames == 6)
        let kinds = frames.map { frame -> String in
            switch frame.content {
            case .plain: "plain"
            case .malformed: "malformed"
            case .geneve(let packet) where overview.isReturned(packet): "returned"
            case .geneve(let packet): "geneve \(frame.length - packet.bytes.count)"
            case .skipped(let reason): "\(reason)"
            }
        }
        // The last is Ethernet in Geneve, which is for the appliance to refuse.
        #expect(kinds == ["plain", "geneve 14", "returned", "geneve 14", "geneve 14", "geneve 14"])
        let snapped = try Self.frames("snapped.pcap")
        #expect(snapped.map(\.content).contains(.skipped(.truncated)))
        #expect(snapped[1].length == 14 + Self.packets[1].count)
    }

    static func reader(_ name: String) throws -> CaptureReader {
        try CaptureReader(path: folder.appending(path: name).path)
    }

    static func frames(_ name: String) throws -> [CaptureFrame] {
        var reader = try reader(name)
        var frames: [CaptureFrame] = []
        while let frame = try reader.next() { frames.append(frame) }
        return frames
    }

    @Test func `frames of an interface with another link type are skipped`() throws {
        let section = Self.section
        func packet(_ interface: UInt32, _ bytes: [UInt8]) -> [UInt8] {
            let length = Self.little(UInt32(bytes.count))
            return Self.block(
                6,
                Self.little(interface) + [UInt8](repeating: 0, count: 8) + length + length + bytes)
        }
        // USB, raw IP.
        let interfaces =
            Self.block(1, [220, 0, 0, 0, 0, 0, 0, 0]) + Self.block(1, [101, 0, 0, 0, 0, 0, 0, 0])
        let ip = Self.packets[0]
        let capture = try CaptureFile(
            bytes: section + interfaces + packet(1, ip) + packet(0, ip) + packet(1, ip), name: "f")
        #expect(Self.packets(of: capture) == [ip, ip])
        #expect(capture.skipped.otherLink == 1 && capture.skipped.total == 1)
    }

    /// A packet that a card is to split has no length in its header.
    @Test func `a merged packet without a length is as long as its frame`() throws {
        var merged: [UInt8] = [0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]
        merged += [UInt8](repeating: 0x50, count: 4000)
        let length = Self.little(UInt32(merged.count))
        var bytes = [UInt8](try Self.file("raw.pcap")[..<24])
        bytes += [UInt8](repeating: 0, count: 8)
        bytes += length
        bytes += length
        bytes += merged
        let capture = try CaptureFile(bytes: bytes, name: "f")
        let packet = try #require(capture.packets.first)
        #expect(packet.bytes.count == 4020 && packet.bytes[2..<4] == [0x0F, 0xB4])
    }

    @Test func `a capture that begins with an answer is read the right way round`() throws {
        let whole = try Self.frames("geneve.pcap")
        // The first Geneve packet goes, its answer stays, and one more is answered.
        let bytes = try Self.file("geneve.pcap")
        var at = 24
        let records = whole.map { frame -> [UInt8] in
            defer { at += 16 + frame.length }
            return Array(bytes[at..<at + 16 + frame.length])
        }
        func answer(_ record: [UInt8]) -> [UInt8] {
            var record = record
            let ip = 16 + 14
            record.replaceSubrange(ip + 12..<ip + 16, with: records[2][ip + 12..<ip + 16])
            record.replaceSubrange(ip + 16..<ip + 20, with: records[2][ip + 16..<ip + 20])
            return record
        }
        let capture = try CaptureFile(
            bytes: bytes[..<24] + records[2] + records[3] + answer(records[3]) + records[4],
            name: "f")
        #expect(Self.packets(of: capture) == Array(Self.packets[1...2]))
        #expect(capture.skipped.returned == 2)
    }

    @Test func `of a large file little is in memory`() throws {
        let path = FileManager.default.temporaryDirectory
            .appending(path: "sluice-large-\(UUID().uuidString).pcap")
        defer { try? FileManager.default.removeItem(at: path) }
        let one = try Self.file("raw.pcap")
        FileManager.default.createFile(atPath: path.path, contents: Data(one[..<24]))
        let file = try FileHandle(forWritingTo: path)
        try file.seekToEnd()
        let records = Data(one[24...])
        let copies = (3 << 20) / records.count
        for _ in 0..<copies { try file.write(contentsOf: records) }
        try file.close()
        var reader = try CaptureReader(path: path.path)
        while try reader.next() != nil {}
        #expect(reader.count == copies * Self.packets.count && !reader.isCutShort)
        // A file may be cut while it is read.
        reader = reader.rewound
        _ = try reader.next()
        try FileHandle(forWritingTo: path).truncate(atOffset: 2 << 20)
        while try reader.next() != nil {}
        #expect(reader.isCutShort)
    }

    static func complaint(path: String) -> String? {
        do {
            _ = try CaptureFile(path: path)
            return nil
        } catch { return error.description }
    }

    // ---- Little-endian pcapng by hand.

    static let section = block(
        0x0A0D_0D0A,
        little(0x1A2B_3C4D as UInt32) + [1, 0, 0, 0] + [UInt8](repeating: 0xFF, count: 8))

    static func little<T: FixedWidthInteger>(_ value: T) -> [UInt8] { bigEndian(value).reversed() }

    static func block(_ type: UInt32, _ body: [UInt8]) -> [UInt8] {
        let padding = [UInt8](repeating: 0, count: (4 - body.count % 4) % 4)
        let length = little(UInt32(12 + body.count + padding.count))
        return little(type) + length + body + padding + length
    }
}
