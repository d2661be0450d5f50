import Dataplane
import PacketIO
import SluiceTesting
import Testing
import Wire

/// Valid packets of many shapes, and what an enemy makes of them. Frames lie in allocations of
/// their exact size, so that a sanitizer sees an access beyond them.
@Suite("Hostile bytes")
struct HostileBytesTests {
    static let shapes: [[UInt8]] = {
        let chat = bytes("weakly typed, drop m")
        let six = [0, 43, 60].map { PacketBuilder.extensionHeader($0) }
        let fragments = [(0, false), (0, true), (64, true), (64, false)].map {
            [PacketBuilder.fragmentHeader(offset: $0.0, more: $0.1)]
        }
        var inner: [[UInt8]] = [
            PacketBuilder.udp4(1, 3000, chat), PacketBuilder.udp4(3000, 1, []),
            PacketBuilder.udp4(1, 3000, bytes("drop me")), PacketBuilder.udp4(1, 53, chat),
            PacketBuilder.udp4(1, 3000, chat, checksum: .zero),
            PacketBuilder.udp4(1, 3000, chat, checksum: .wrong),
            PacketBuilder.udp4(1, 3000, chat, options: [1, 1, 1, 1]),
            PacketBuilder.udp4(1, 3000, chat, options: [UInt8](repeating: 1, count: 40)),
            PacketBuilder.tcp4(1, 3000, chat), PacketBuilder.tcp4(443, 1, []),
            PacketBuilder.tcp4(1, 443, [], flags: 0x02),
            PacketBuilder.tcp4(1, 443, [], flags: 0x11),
            PacketBuilder.icmp4(type: 8, sequence: 5), PacketBuilder.icmp4(type: 0, sequence: 6),
            PacketBuilder.icmp4(type: 11, sequence: 0), PacketBuilder.icmp6(type: 128, sequence: 5),
            PacketBuilder.udp6(1, 3000, chat), PacketBuilder.udp6(1, 3000, chat, extensions: six),
            PacketBuilder.udp6(1, 3000, chat, checksum: .zero),
            PacketBuilder.ipv4(protocolNumber: 47, chat),
            PacketBuilder.ipv4(protocolNumber: 50, []),
            PacketBuilder.ipv4(protocolNumber: 4, PacketBuilder.udp4(1, 3000, chat)),
            PacketBuilder.ipv6(nextHeader: 59, []), PacketBuilder.ipv6(nextHeader: 6, chat),
            PacketBuilder.ipv6(nextHeader: 50, chat),
        ]
        inner += [0x2000, 0x2001, 0x0001, 0x4000].map {
            PacketBuilder.udp4(1, 3000, chat, flagsAndOffset: $0)
        }
        inner += fragments.map { PacketBuilder.udp6(1, 3000, chat, extensions: $0) }
        return inner.map { PacketBuilder($0).bytes() } + outerShapes
    }()

    private static var outerShapes: [[UInt8]] {
        let base = PacketBuilder(PacketBuilder.udp4(1, 3000, bytes("weakly typed")))
        var (trailing, zero, options, many, none) = (base, base, base, base, base)
        trailing.trailing = [1, 2, 3]
        zero.outerChecksum = .zero
        options.outerOptions = [1, 1, 1, 1, 1, 1, 1, 0]
        many.options += [.init(0x0103, 1, []), .init(0x0103, 2, [UInt8](repeating: 9, count: 60))]
        none.options = []
        return [trailing, zero, options, many, none, PacketBuilder([])].map { $0.bytes() }
    }

    /// Some of the ways to run a worker, so that every branch is met.
    static let paths: [PathSettings] = [
        PathSettings(),
        settings {
            $0.verifyOuterChecksum = .never
            $0.forwardsUndecodable = true
            $0.requireAWSOptions = false
        },
    ]

    /// Sends a packet through: the identity is exact, and what was not rewritten differs in
    /// nothing but addresses, time to live and checksum of the outer header (and is cut to the outer length).
    private func check(
        _ bench: inout Bench<BlogPolicy>, _ packet: [UInt8], _ facts: FrameFacts = .headerVerified
    ) throws {
        let rewritten = bench.counters.read(.packetsRewritten)
        let outcome = bench.outcome(of: packet, facts: facts)
        try #require(outcome != nil)
        guard case .forwarded(let sent)? = outcome else { return }
        guard bench.counters.read(.packetsRewritten) == rewritten else { return }
        let expected = packet[0..<(Int(packet[2]) << 8 | Int(packet[3]))]
        try #require(sent == turned(Array(expected)))
    }

    private func bench(_ settings: PathSettings, growth: Int = 2) throws -> Bench<BlogPolicy> {
        try Bench(
            BlogPolicy.self, settings,
            io: MemoryIO(placement: .exact(growth: growth), recordingSize: 0))
    }

    @Test func `there are many shapes, and most are fine as they are`() throws {
        #expect(Self.shapes.count >= 39)
        var bench = try bench(PathSettings(), growth: 64)
        for packet in Self.shapes { try check(&bench, packet, []) }
        let tally = Tally(bench.counters)
        #expect(tally.forwarded > tally.received * 3 / 4)
    }

    @Test func `truncated at every length`() throws {
        for settings in Self.paths {
            for packet in Self.shapes {
                var bench = try bench(settings)
                for length in 0...packet.count { try check(&bench, Array(packet[0..<length])) }
            }
        }
    }

    /// Not only cut: the outer lengths and checksums agree with what is left.
    @Test func `truncated at every length, with outer lengths to match`() throws {
        for settings in Self.paths {
            for packet in Self.shapes {
                var bench = try bench(settings)
                let header = Int(packet[0] & 15) * 4
                for length in (header + 8)...packet.count {
                    var cut = Array(packet[0..<length])
                    cut.replaceSubrange(2..<4, with: bigEndian(UInt16(length)))
                    let udp = bigEndian(UInt16(length - header)) + [0, 0]
                    cut.replaceSubrange(header + 4..<header + 8, with: udp)
                    try check(&bench, cut)
                }
            }
        }
    }

    @Test func `every bit of the first 140 bytes flipped`() throws {
        for packet in Self.shapes {
            var bench = try bench(Self.paths[1])
            for bit in 0..<min(140, packet.count) * 8 {
                var flipped = packet
                flipped[bit / 8] ^= 0x80 >> UInt8(bit % 8)
                try check(&bench, flipped)
            }
        }
    }

    @Test(arguments: 1...4 as ClosedRange<UInt64>)
    func `random bytes, alone and in the place of headers`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        var bench = try bench(Self.paths[Int(seed % 2)])
        for _ in 0..<4000 {
            var packet = Self.shapes.randomElement(using: &random)!
            let start = [0, 20, 28, 60, 68, 88].randomElement(using: &random)!
            for i in min(start, packet.count)..<packet.count
            where Int.random(in: 0..<4, using: &random) == 0 {
                packet[i] = .random(in: 0...255, using: &random)
            }
            try check(&bench, packet)
            let noise = (0..<Int.random(in: 0...200, using: &random)).map { _ in
                UInt8.random(in: 0...255, using: &random)
            }
            try check(&bench, noise)
        }
    }

    /// Two bytes that name lengths, each with every value that matters.
    @Test func `lengths that lie`() throws {
        let fields = [0, 2, 3, 24, 25, 28, 35, 47, 59, 68, 70, 71, 72, 73, 92, 93, 108, 109]
        for packet in Self.shapes {
            var bench = try bench(Self.paths[1])
            for field in fields where field < packet.count {
                for value in [0, 1, 7, 8, 19, 20, 21, 27, 28, 0x40, 0x44, 0x4F, 0x60, 0x6F, 0xFF]
                    as [UInt8]
                {
                    var lying = packet
                    lying[field] = value
                    try check(&bench, lying)
                }
            }
        }
    }
}
