import Dataplane
import PacketIO
import SluiceTesting
import Testing
import Wire

/// What becomes of the packets that a network has every day, and of those that it should not have,
/// under the built-in policy.
@Suite("Everyday packets")
struct EverydayPacketTests {
    private func passesUntouched(
        _ inner: [UInt8]..., sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        for packet in inner.map({ PacketBuilder($0) }) {
            #expect(
                try blog(packet, sourceLocation: sourceLocation).isUntouched(packet),
                sourceLocation: sourceLocation)
        }
    }

    private func udp(
        _ port: UInt16, _ text: String, _ checksum: PacketBuilder.Checksum = .valid
    ) -> [UInt8] { PacketBuilder.udp4(40_000, port, bytes(text), checksum: checksum) }

    @Test func `port 3000 without a match keeps a zero and a corrupt checksum`() throws {
        try passesUntouched(
            udp(3000, "hello"), udp(3000, "hello", .zero), udp(3000, "hello", .wrong))
    }

    @Test func `port 3001 keeps a corrupt checksum`() throws {
        try passesUntouched(udp(3001, "weakly typed", .wrong))
    }

    @Test func `port 3000 with an empty payload passes`() throws {
        try passesUntouched(udp(3000, ""), udp(3000, "", .zero), udp(3000, "", .wrong))
    }

    @Test func `capitals, TCP 3000 and port 3001 pass`() throws {
        try passesUntouched(
            udp(3000, "DROP ME"), PacketBuilder.tcp4(40_000, 3000, bytes("drop me")),
            udp(3001, "drop me"))
    }

    @Test func `the rules hold for IPv6 too`() throws {
        let both = PacketBuilder.udp6(40_000, 3000, bytes("drop me weakly typed"))
        #expect(try blog(PacketBuilder(both)) == .dropped(.rule))
        let weak = PacketBuilder(PacketBuilder.udp6(40_000, 3000, bytes("weakly typed")))
        let strong = PacketBuilder.udp6(40_000, 3000, bytes("strongly typed"))
        #expect(try blog(weak) == answer(to: weak, strong))
    }

    @Test func `fragmentation does not bypass the rules: the first fragment is dropped`() throws {
        let first = PacketBuilder.udp4(40_000, 3000, bytes("drop me"), flagsAndOffset: 0x2000)
        #expect(try blog(PacketBuilder(first)) == .dropped(.rule))
        try passesUntouched(
            PacketBuilder.ipv4(protocolNumber: 17, bytes("drop me"), flagsAndOffset: 0x2001),
            PacketBuilder.ipv4(protocolNumber: 17, bytes("drop me"), flagsAndOffset: 0x0002))
    }

    @Test func `IPv4 options do not hide the payload`() throws {
        let inner = PacketBuilder.udp4(
            40_000, 3000, bytes("drop me"), options: [0x94, 4, 0, 0, 1, 1, 1, 1])
        #expect(try blog(PacketBuilder(inner)) == .dropped(.rule))
    }

    @Test func `a packet in a packet is opaque`() throws {
        try passesUntouched(PacketBuilder.ipv4(protocolNumber: 4, udp(3000, "drop me")))
    }

    @Test func `traceroute works: time exceeded and unreachable pass`() throws {
        let quoted = Array(udp(3000, "drop me").prefix(28))
        for (type, code) in [(11, 0), (11, 1), (3, 0), (3, 1), (3, 3)] as [(UInt8, UInt8)] {
            try passesUntouched(
                PacketBuilder.icmp4(type: type, code: code, identifier: 0, sequence: 0, quoted))
        }
    }

    @Test func `path MTU discovery works: fragmentation needed passes, whatever the MTU`() throws {
        for mtu in [68, 1280, 1400, 1476, 1499, 1500, 8500, 9000] as [UInt16] {
            try passesUntouched(
                PacketBuilder.icmp4(
                    type: 3, code: 4, identifier: 0, sequence: mtu,
                    Array(udp(443, "x").prefix(28))))
        }
    }

    @Test func `ping6 works: echoes keep their payload and checksum`() throws {
        for sequence in 0...10 as ClosedRange<UInt16> {
            try passesUntouched(
                PacketBuilder.icmp6(
                    type: 128, sequence: sequence, [UInt8](repeating: 0x61, count: 121)),
                PacketBuilder.icmp6(type: 129, sequence: sequence))
        }
    }

    @Test func `ICMPv6 time exceeded passes`() throws {
        try passesUntouched(PacketBuilder.icmp6(type: 3, identifier: 0, sequence: 0))
    }

    @Test func `IPv6 fragment and routing headers pass`() throws {
        let text = bytes("hello")
        try passesUntouched(
            PacketBuilder.udp6(
                1, 53, text, extensions: [PacketBuilder.fragmentHeader(offset: 0, more: true)]),
            PacketBuilder.udp6(
                1, 53, text, extensions: [PacketBuilder.fragmentHeader(offset: 64, more: false)]),
            PacketBuilder.udp6(
                1, 53, text, extensions: [PacketBuilder.extensionHeader(43, units: 2)]))
    }

    @Test func `IPv6 destination options do not hide the payload`() throws {
        let chain = [PacketBuilder.extensionHeader(60)]
        let weak = PacketBuilder(
            PacketBuilder.udp6(1, 3000, bytes("weakly typed"), extensions: chain))
        let strong = PacketBuilder.udp6(1, 3000, bytes("strongly typed"), extensions: chain)
        #expect(try blog(weak) == answer(to: weak, strong))
        let drop = PacketBuilder.udp6(1, 3000, bytes("drop me"), extensions: chain)
        #expect(try blog(PacketBuilder(drop)) == .dropped(.rule))
    }

    @Test(arguments: [2, 50, 51, 89, 112, 136, 253, 47, 132, 0, 255])
    func `any other protocol passes, whatever its bytes`(number: UInt8) throws {
        // 2 IGMP, 50 ESP, 51 AH, 89 OSPF, 112 VRRP, 136 UDP-Lite, 253 experimental, 47 GRE,
        // 132 SCTP; 0 and 255 for good measure.
        let body = Array(udp(3000, "drop me weakly typed")[20...])
        for payload in [[], [0xFF], body, [UInt8](repeating: 0, count: 64)] {
            try passesUntouched(
                PacketBuilder.ipv4(protocolNumber: number, payload))
            if number != 0 { try passesUntouched(PacketBuilder.ipv6(nextHeader: number, payload)) }
        }
    }

    // ---- DNS and other applications: payload is bytes, not something to decode and encode.

    private static let dnsHeader: [UInt8] = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    private static let dnsName: [UInt8] = [7] + bytes("example") + [3] + bytes("com") + [0]
    private static let dnsQuery = dnsHeader + dnsName + [0, 1, 0, 1]
    private static let dnsAnswerHeader: [UInt8] = [0x12, 0x34, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]

    private func dns(_ message: [UInt8]) -> [UInt8] { PacketBuilder.udp4(53, 40_000, message) }

    @Test func `DNS queries pass, with EDNS and without`() throws {
        let edns: [UInt8] = [0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 0]
        try passesUntouched(dns(Self.dnsQuery), dns(Self.dnsQuery + edns))
    }

    @Test func `DNS answers with name compression pass`() throws {
        let record: [UInt8] = [0xC0, 12, 0, 1, 0, 1, 0, 0, 1, 0, 0, 4, 93, 184, 216, 34]
        try passesUntouched(dns(Self.dnsAnswerHeader + Self.dnsName + [0, 1, 0, 1] + record))
    }

    @Test func `DNS answers with any record type pass`() throws {
        let caa: [UInt8] = [0xC0, 12, 1, 1, 0, 1, 0, 0, 1, 0, 0, 8, 0, 5] + bytes("issue;")
        try passesUntouched(dns(Self.dnsAnswerHeader + Self.dnsName + [1, 1, 0, 1] + caa))
    }

    @Test(arguments: [5060, 53, 123, 4789, 6081, 6343])
    func `an application's packets pass, decodable or not`(port: UInt16) throws {
        try passesUntouched(
            udp(port, "INVITE sip:b@example.com SIP/2.0\r\n\r\n"),
            PacketBuilder.udp4(40_000, port, [0xFF]),
            PacketBuilder.udp4(port, port, [UInt8](repeating: 0, count: 48)))
    }

    @Test(arguments: [22, 80, 443])
    func `TCP passes, with payload, without, and with options`(port: UInt16) throws {
        var withOptions = PacketBuilder.tcp4(40_000, port, [2, 4, 5, 0xB4] + bytes("hello"))
        withOptions[32] = 0x60
        try passesUntouched(
            PacketBuilder.tcp4(40_000, port, []), withOptions,
            PacketBuilder.tcp4(port, 40_000, bytes("weakly typed"), flags: 0x02))
    }

    // ---- Size.

    @Test(arguments: [8432, 8433, 8434, 8499, 8500])
    func `inner packets up to 8500 bytes pass whole`(length: Int) throws {
        let text = [UInt8](repeating: 0x61, count: length - 28)
        try passesUntouched(
            PacketBuilder.udp4(40_000, 3000, text), PacketBuilder.udp4(40_000, 443, text))
    }

    @Test func `a replacement does not grow a packet beyond the MTU`() throws {
        let text = "weakly typed" + String(repeating: "x", count: 8500 - 28 - 12)
        #expect(try blog(PacketBuilder(udp(3000, text))) == .dropped(.tooBig))
    }

    // ---- Geneve.

    @Test func `Geneve versions other than 0 are dropped`() throws {
        for version in 1...3 as ClosedRange<UInt8> {
            var packet = PacketBuilder(udp(443, "x"))
            packet.version = version
            #expect(try blog(packet) == .dropped(.geneveVersion))
        }
    }

    @Test func `an option that overruns, no inner packet and unknown types are dropped`() throws {
        var bench = try Bench()
        let good = PacketBuilder(udp(443, "x"))
        var overrun = good.bytes()
        overrun[63] = 0x1F  // the last option's length
        #expect(bench.outcome(of: overrun) == .dropped(.geneveMalformed))
        #expect(bench.outcome(of: PacketBuilder([]).bytes()) == .dropped(.innerMalformed))
        var unknown = good
        unknown.protocolType = 0x0806
        #expect(bench.outcome(of: unknown.bytes()) == .dropped(.geneveProtocol))
    }

    @Test func `a truncated inner packet and Ethernet junk are dropped`() throws {
        let whole = udp(443, "hello")
        for length in 1..<whole.count {
            #expect(
                try blog(PacketBuilder(Array(whole[0..<length]))) == .dropped(.innerMalformed))
        }
        var ethernet = PacketBuilder([UInt8](repeating: 0x5A, count: 60))
        ethernet.protocolType = 0x6558
        #expect(try blog(ethernet) == .dropped(.geneveProtocol))
    }

    @Test func `a rewrite does not leave a stale outer checksum`() throws {
        let packet = PacketBuilder(udp(3000, "weakly typed"))
        guard case .forwarded(let sent)? = try blog(packet) else {
            Issue.record("not forwarded")
            return
        }
        #expect(sent[26..<28] != packet.bytes()[26..<28])
        #expect(
            transportChecksum(
                Array(sent[12..<16]), Array(sent[16..<20]), 17, Array(sent[20...])) == 0)
    }

    @Test func `the host's own DNS replies are no business of ours`() throws {
        var packet = PacketBuilder(udp(443, "x"))
        packet.sourcePort = 6081
        packet.destinationPort = 53
        var bytes = packet.bytes()
        let worker = withPacketView(&bytes) {
            Steering.worker(of: $0, from: .outerIPv4, workers: 4)
        }
        #expect(worker == nil, "steering leaves it to its owner")
        #expect(try blog(packet) == .dropped(.outerMalformed), "and so does the parser")
    }
}
