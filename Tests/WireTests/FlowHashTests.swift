import SluiceTesting
import Testing
import Wire

/// The hash that names a packet's worker. PacketIOTests holds it against the BPF
/// programs; here it is held against numbers, and against what it promises.
@Suite struct FlowHashTests {
    private static let fragmentHeader: UInt8 = 44
    private static let destinationOptions: UInt8 = 60

    private func hash(_ outer: [UInt8], at geneve: Int = 28) -> UInt32? {
        read(outer) { FlowHash().ofPacket($0, geneveAt: geneve) }
    }

    private static let bareGeneve = hex("00 00 0800 000000 00")

    /// Behind a Geneve header without options, which is quick to make.
    private func hash(inner: [UInt8]) -> UInt32? { hash(Self.bareGeneve + inner, at: 0) }

    // ---- Numbers.

    /// Worked out by a second implementation, in Python. A change here is a change of every
    /// flow's worker, and of the BPF programs.
    @Test func goldenValues() {
        typealias Build = PacketBuilder
        let tcp6 = Build.ipv6(nextHeader: 6, hex("9c40 01bb") + [UInt8](repeating: 0, count: 16))
        #expect(hash(inner: Build.udp4(5000, 3000, [1])) == 0xa8f2_2618)
        #expect(hash(inner: Build.tcp4(40_000, 443, [1])) == 0x608d_a55e)
        #expect(hash(inner: Build.icmp4(type: 8, sequence: 1)) == 0xcb58_e6f5)
        #expect(hash(inner: tcp6) == 0x2f98_0ef6)
        #expect(hash(inner: Build.udp6(5000, 3000, [1])) == 0x4688_9e54)
        #expect(hash(inner: udp6Fragment(field: 0x0001)) == 0x87b5_d7c4)
    }

    // ---- What counts.

    @Test func bothDirectionsHashAlike() {
        var random = SeededGenerator(seed: 6)
        for _ in 0..<2000 {
            let packet = RandomPacket(&random)
            let there = hash(inner: packet.bytes)
            let back = hash(inner: packet.reversed.bytes)
            if there == nil || there != back { #expect(there == back, "\(packet)") }
        }
    }

    @Test func endpointCookieAndOuterHeaderDoNotCount() {
        let inner = PacketBuilder.udp4(5000, 3000, [1])
        var other = PacketBuilder(inner)
        other.options = [.endpoint(1), .attachment(2), .cookie(3)]
        other.source = 0x0102_0304
        other.sourcePort = 1
        other.vni = 77
        #expect(hash(other.bytes()) == hash(inner: inner))
        #expect(hash(PacketBuilder(inner).bytes()) == hash(inner: inner))
    }

    @Test("RFC 8926 §3.4: the inner packet stands behind Opt Len words", arguments: 0...63)
    func optionsLength(words count: Int) {
        let inner = PacketBuilder.udp4(5000, 3000, [1])
        let bytes =
            [UInt8(count), 0] + hex("0800 000000 00")
            + [UInt8](repeating: 0xEE, count: count * 4) + inner
        #expect(hash(bytes, at: 0) == 0xa8f2_2618)
        #expect(hash([1, 2, 3] + bytes, at: 3) == 0xa8f2_2618)
    }

    @Test func payloadAndChecksumsDoNotCount() {
        #expect(
            hash(inner: PacketBuilder.udp4(5000, 3000, [], checksum: .wrong))
                == hash(inner: PacketBuilder.udp4(5000, 3000, Array("drop me".utf8))))
    }

    @Test("RFC 791 §3.1: ports stand behind IPv4 options", arguments: 0...10)
    func innerOptions(words count: Int) {
        let options = [UInt8](repeating: 1, count: count * 4)
        #expect(hash(inner: PacketBuilder.udp4(5000, 3000, [1], options: options)) == 0xa8f2_2618)
    }

    @Test("RFC 9293, RFC 768: only TCP and UDP have ports, all 256 protocols")
    func protocolsWithPorts() {
        #expect(octets.filter(FlowHash.hasPorts) == [6, 17])
        let bad = failures(octets.filter { !FlowHash.hasPorts($0) }) { number in
            let with = { hash(inner: PacketBuilder.ipv4(protocolNumber: number, $0)) }
            return with(hex("1388 0bb8 00")) != nil && with(hex("1388 0bb8 00")) == with([])
        }
        #expect(bad.isEmpty)
    }

    @Test("RFC 791 §3.1: every fragment hashes without ports, the first included")
    func fragments() {
        let ports = { PacketBuilder.udp4($0, 3000, [1, 2, 3, 4], flagsAndOffset: $1) }
        let portless = hash(inner: ports(5000, 0x2000))
        let bad = failures(words) { field in
            // Skips most offsets: building packets is what costs.
            guard field % 97 == 0 || field & 0x1FFF < 2 else { return true }
            let isFragment = field & 0x3FFF != 0
            return hash(inner: ports(5000, field)) == (isFragment ? portless : 0xa8f2_2618)
        }
        #expect(bad.isEmpty)
        #expect(hash(inner: ports(5001, 0x2000)) == portless)
        #expect(hash(inner: ports(5001, 0x0001)) == portless)
    }

    @Test("RFC 8200 §4.5: every fragment hashes without ports, the first included")
    func fragments6() {
        let portless = hash(inner: udp6Fragment(field: 0x0001))
        let bad = failures(words) { field in
            guard field % 97 == 0 || field < 16 else { return true }
            let isFragment = field & 0xFFF9 != 0
            return hash(inner: udp6Fragment(field: field))
                == (isFragment ? portless : 0x4688_9e54)
        }
        #expect(bad.isEmpty)
    }

    @Test("RFC 8200 §4.5: the second octet of a fragment header is reserved, not a length")
    func fragmentReservedOctet() {
        let bad = failures(octets) {
            hash(inner: udp6Fragment(field: 0, reserved: $0)) == 0x4688_9e54
        }
        #expect(bad.isEmpty)
    }

    @Test("RFC 8200 §4: extension headers are passed; more than the limit is nil")
    func extensionHeaders() {
        for count in 0...9 {
            let chain = (0..<count).map { PacketBuilder.extensionHeader([0, 43, 60][$0 % 3]) }
            let expected: UInt32? = count <= FlowHash.extensionLimit ? 0x4688_9e54 : nil
            #expect(hash(inner: PacketBuilder.udp6(5000, 3000, [1], extensions: chain)) == expected)
        }
        for units in [1, 2, 255] as [UInt8] {
            let long = PacketBuilder.extensionHeader(Self.destinationOptions, units: units)
            let packet = PacketBuilder.udp6(5000, 3000, [1], extensions: [long])
            #expect(hash(inner: packet) == 0x4688_9e54)
        }
    }

    // ---- Nil.

    @Test func nilWhenTheVersionIsNeither() {
        for inner in [PacketBuilder.udp4(5000, 3000, [1]), PacketBuilder.udp6(5000, 3000, [1])] {
            let bad = failures((0...15 as ClosedRange<UInt8>).filter { $0 != 4 && $0 != 6 }) {
                hash(inner: [$0 << 4 | inner[0] & 0x0F] + inner.dropFirst()) == nil
            }
            #expect(bad.isEmpty)
        }
    }

    /// Up to the ports all must be there; what follows does not count.
    @Test func nilAtEveryCutBeforeThePorts() {
        let options = [UInt8](repeating: 1, count: 12)
        let extensions = [PacketBuilder.extensionHeader(Self.destinationOptions)]
        let packets = [
            (PacketBuilder.udp4(5000, 3000, [1], options: options), 20 + 12 + 4),
            (PacketBuilder.icmp4(type: 8, sequence: 1), 20),
            (PacketBuilder.udp6(5000, 3000, [1], extensions: extensions), 40 + 8 + 4),
            (PacketBuilder.icmp6(type: 128, sequence: 1), 40),
            (udp6Fragment(field: 0x0001), 40 + 8),
        ]
        for (inner, needed) in packets {
            let outer = PacketBuilder(inner).bytes()
            let bad = failures(0...outer.count) { length in
                (hash(Array(outer.prefix(length))) != nil) == (length >= 68 + needed)
            }
            #expect(bad.isEmpty)
        }
    }

    @Test func nilWhereThereIsNoGeneveHeader() {
        let outer = PacketBuilder(PacketBuilder.udp4(5000, 3000, [1])).bytes()
        for offset in [-1, -100, .min, outer.count - 7, outer.count, outer.count + 1, 100_000] {
            #expect(hash(outer, at: offset) == nil)
        }
    }

    // ---- Hostile bytes: bounds are asserted in debug builds, so reading beyond them would trap.

    @Test func randomBytesNeverTrap() {
        var random = SeededGenerator(seed: 7)
        for _ in 0..<30_000 {
            var bytes = random.bytes(Int(random.next() % 160))
            // Half of them get past the version check.
            let inner = 8 + Int((bytes.first ?? 0) & 0x3F) * 4
            if inner < bytes.count, random.next() % 2 == 0 {
                bytes[inner] = [0x45, 0x4F, 0x40, 0x60][Int(random.next() % 4)]
            }
            _ = hash(bytes, at: Int(random.next() % 4) * Int(random.next() % 40))
        }
    }

    @Test func mutatedPacketsNeverTrap() {
        var random = SeededGenerator(seed: 8)
        let extensions = [0, 43, 44, 60].map { PacketBuilder.extensionHeader($0) }
        let packets = [
            PacketBuilder.udp4(5000, 3000, [1, 2, 3], options: [1, 1, 1, 1]),
            PacketBuilder.udp6(5000, 3000, [1, 2, 3], extensions: extensions),
        ].map { PacketBuilder($0).bytes() }
        for packet in packets {
            for _ in 0..<10_000 {
                var bytes = packet
                for _ in 0..<1 + random.next() % 3 {
                    let place = 28 + Int(random.next() % UInt64(bytes.count - 28))
                    bytes[place] = UInt8(truncatingIfNeeded: random.next())
                }
                if random.next() % 4 == 0 {
                    bytes.removeLast(Int(random.next() % UInt64(bytes.count)))
                }
                _ = hash(bytes)
            }
        }
    }

    // ---- Spread.

    private static let flows = 10_000

    /// Hashes of flows as networks really have them: neighbours in one field or two.
    private func population(_ name: String) -> [UInt32] {
        var random = SeededGenerator(seed: 9)
        return (0..<Self.flows as Range<Int>).map { i in
            let inner: [UInt8]
            switch name {
            case "random":
                inner = RandomPacket(&random).bytes
            case "one client's ports":
                inner = PacketBuilder.tcp4(UInt16(1024 + i), 443, [])
            case "one port's clients":
                inner = PacketBuilder.tcp4(40_000, 443, [], source: 0x0A00_0000 + UInt32(i))
            case "pings between two subnets":
                inner = PacketBuilder.ipv4(
                    source: 0x0A00_0000 + UInt32(i / 100),
                    destination: 0x0A01_0000 + UInt32(i % 100), protocolNumber: 1,
                    [UInt8](repeating: 0, count: 8))
            default:
                let host = [0xfd] + [UInt8](repeating: 0, count: 13) + bigEndian(UInt16(i))
                inner = PacketBuilder.ipv6(
                    source: host, nextHeader: 6,
                    [0x9c, 0x40, 0x01, 0xbb] + [UInt8](repeating: 0, count: 16)
                )
            }
            return hash(inner: inner)!
        }
    }

    @Test(arguments: [
        "random", "one client's ports", "one port's clients", "pings between two subnets",
        "IPv6 neighbours",
    ])
    func flowsSpreadOverWorkers(population name: String) {
        let hashes = population(name)
        for workers in 2...64 {
            var counts = [Int](repeating: 0, count: workers)
            for hash in hashes { counts[FlowHash.worker(hash, of: workers)] += 1 }
            #expect(Spread(counts).isEven, "\(workers) workers: \(counts)")
            #expect(counts.max()! < 2 * counts.min()!, "\(workers) workers: \(counts)")
        }
    }

    @Test func workerIsAlwaysOneOfThem() {
        for workers in [1, 2, 3, 64, 255, 65_536] {
            #expect(FlowHash.worker(0, of: workers) == 0)
            #expect(FlowHash.worker(.max, of: workers) == workers - 1)
            // The upper half of the hash decides.
            let bad = failures(words) { half in
                let hash = UInt32(half) << 16
                let worker = FlowHash.worker(hash, of: workers)
                return worker == Int(half) * workers / 65_536
                    && worker == FlowHash.worker(hash | 0xFFFF, of: workers)
            }
            #expect(bad.isEmpty)
        }
    }

    /// UDP from fd00::1:5000 to fd00::2:3000 behind a fragment header with this offset and M.
    private func udp6Fragment(field: UInt16, reserved: UInt8 = 0) -> [UInt8] {
        let header = [0, reserved] + bigEndian(field) + [1, 2, 3, 4]
        return PacketBuilder.udp6(5000, 3000, [1], extensions: [(Self.fragmentHeader, header)])
    }
}

/// An inner packet of random version, protocol, addresses and ports.
private struct RandomPacket {
    private var isIPv6: Bool
    private var protocolNumber: UInt8
    private var source: [UInt8]
    private var destination: [UInt8]
    private var ports: (UInt16, UInt16)

    init(_ random: inout SeededGenerator) {
        isIPv6 = random.next() % 2 == 0
        protocolNumber = [1, 6, 17, 47, 50, 58, 132][Int(random.next() % 7)]
        source = random.bytes(16)
        destination = random.bytes(16)
        ports = (random.word(), random.word())
    }

    /// The same flow's other direction.
    var reversed: RandomPacket {
        var back = self
        back.source = destination
        back.destination = source
        back.ports = (ports.1, ports.0)
        return back
    }

    var bytes: [UInt8] {
        let payload = bigEndian(ports.0) + bigEndian(ports.1) + [UInt8](repeating: 0, count: 16)
        if isIPv6 {
            return PacketBuilder.ipv6(
                source: source, destination: destination, nextHeader: protocolNumber, payload)
        }
        let address = { (bytes: [UInt8]) in bytes.prefix(4).reduce(0) { $0 << 8 | UInt32($1) } }
        return PacketBuilder.ipv4(
            source: address(source), destination: address(destination),
            protocolNumber: protocolNumber, payload)
    }
}
