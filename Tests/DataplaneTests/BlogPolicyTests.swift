import Dataplane
import PacketIO
import SluiceTesting
import Testing
import Wire

/// Byte for byte: what comes out is compared with a packet that PacketBuilder, which shares no
/// code with the data plane, builds from scratch.
@Suite("The blog policy")
struct BlogPolicyTests {
    /// An inner UDP packet to port 3000.
    static func chat(
        _ text: [UInt8], isV6: Bool = false, checksum: PacketBuilder.Checksum = .valid
    ) -> [UInt8] {
        isV6
            ? PacketBuilder.udp6(40_000, 3000, text, checksum: checksum)
            : PacketBuilder.udp4(40_000, 3000, text, checksum: checksum)
    }

    static func packet(_ text: String) -> PacketBuilder { PacketBuilder(chat(bytes(text))) }

    static func rewritten(_ text: String) -> [UInt8] {
        bytes(text.replacing("weakly typed", with: "strongly typed"))
    }

    // ---- Rewriting.

    @Test(arguments: [
        "weakly typed", "weakly typed at the start", "at the end weakly typed",
        "weakly typedweakly typed", "weakly typed, weakly typed, weakly typed",
        "weakly weakly typed typed", "wweakly typedd", "weakly type weakly typed",
        String(repeating: "weakly typed ", count: 100),
        "\u{0}\u{1}weakly typed\u{0}",
    ])
    func `every occurrence is replaced, left to right`(text: String) throws {
        for isV6 in [false, true] {
            let packet = PacketBuilder(Self.chat(bytes(text), isV6: isV6))
            let expected = Self.chat(Self.rewritten(text), isV6: isV6)
            #expect(try blog(packet) == answer(to: packet, expected))
        }
    }

    @Test func `replies are rewritten too: the port counts on either side`() throws {
        let packet = PacketBuilder(PacketBuilder.udp4(3000, 9, bytes("weakly typed")))
        let expected = PacketBuilder.udp4(3000, 9, bytes("strongly typed"))
        #expect(try blog(packet) == answer(to: packet, expected))
    }

    /// Every parity of offset and length, with every kind of checksum, inside and outside.
    @Test(arguments: [false, true])
    func `lengths and checksums are right at odd and even offsets`(isV6: Bool) throws {
        for prefix in 0..<4 {
            for suffix in 0..<4 {
                for occurrences in 1...3 {
                    let text =
                        String(repeating: "a", count: prefix)
                        + String(repeating: "weakly typed", count: occurrences)
                        + String(repeating: "z", count: suffix)
                    for outer in [.valid, .zero] as [PacketBuilder.Checksum] {
                        for inner in [.valid, .zero] as [PacketBuilder.Checksum] {
                            var packet = PacketBuilder(
                                Self.chat(bytes(text), isV6: isV6, checksum: inner))
                            packet.outerChecksum = outer
                            let expected = Self.chat(
                                Self.rewritten(text), isV6: isV6, checksum: inner)
                            #expect(
                                try blog(packet) == answer(to: packet, expected),
                                "\(text) \(outer) \(inner)")
                        }
                    }
                }
            }
        }
    }

    /// RFC 1624: a wrong checksum stays wrong by the same difference.
    @Test(arguments: [false, true])
    func `a wrong inner checksum stays wrong by the same difference`(isV6: Bool) throws {
        let transport = isV6 ? 40 : 20
        for text in ["weakly typed", "aweakly typed", "weakly typedweakly typedb"] {
            for wrong in [0x1234, 0x0001, 0xFFFF, 0xFFFE, 0x8000] as [UInt16] {
                var old = Self.chat(bytes(text), isV6: isV6)
                var new = Self.chat(Self.rewritten(text), isV6: isV6)
                let difference = Int(wrong) - Int(checksum(old, transport + 6))
                setChecksum(&old, transport + 6, Int(wrong))
                setChecksum(&new, transport + 6, Int(checksum(new, transport + 6)) + difference)
                let packet = PacketBuilder(old)
                #expect(try blog(packet) == answer(to: packet, new), "\(text) \(wrong)")
            }
        }
    }

    /// Ones' complement arithmetic is modulo 65,535; UDP writes its zero as 0xFFFF.
    private func setChecksum(_ packet: inout [UInt8], _ field: Int, _ value: Int) {
        let modulo = (value % 65_535 + 65_535) % 65_535
        packet.replaceSubrange(
            field..<field + 2, with: bigEndian(UInt16(modulo == 0 ? 65_535 : modulo)))
    }

    private func checksum(_ packet: [UInt8], _ field: Int) -> UInt16 {
        UInt16(packet[field]) << 8 | UInt16(packet[field + 1])
    }

    @Test func `an inner checksum that comes out as zero is sent as 0xFFFF`() throws {
        // Two free bytes at the end make the new sum whatever is wanted.
        var text = bytes("weakly typed, ") + [0, 0]
        var new = bytes("strongly typed, ") + [0, 0]
        let sum = checksum(Self.chat(new), 26)
        text.replaceSubrange(14..<16, with: bigEndian(sum))
        new.replaceSubrange(16..<18, with: bigEndian(sum))
        let expected = Self.chat(new)
        #expect(checksum(expected, 26) == 0xFFFF)
        let packet = PacketBuilder(Self.chat(text))
        #expect(try blog(packet) == answer(to: packet, expected))
    }

    @Test(arguments: [4, 8, 20, 40])
    func `IP options stay where they are, inside and outside`(length: Int) throws {
        let options = [UInt8](repeating: 1, count: length)
        var packet = PacketBuilder(
            PacketBuilder.udp4(40_000, 3000, bytes("weakly typed"), options: options))
        packet.outerOptions = options
        let expected = PacketBuilder.udp4(
            40_000, 3000, bytes("strongly typed"), options: options)
        #expect(try blog(packet) == answer(to: packet, expected))
    }

    @Test func `IPv6 extension headers are walked, up to eight`() throws {
        for count in 0...9 {
            let chain = (0..<count).map { _ in PacketBuilder.extensionHeader(60) }
            let packet = PacketBuilder(
                PacketBuilder.udp6(40_000, 3000, bytes("weakly typed"), extensions: chain))
            let expected = PacketBuilder.udp6(
                40_000, 3000, bytes("strongly typed"), extensions: chain)
            let outcome = count <= 8 ? answer(to: packet, expected) : .dropped(.innerMalformed)
            #expect(try blog(packet) == outcome)
        }
    }

    /// RFC 2675 §4; Linux delivers it, jumbogram or not.
    @Test(arguments: [0, 1, 3])
    func `UDP over IPv6 with length 0 is searched to its end and never rewritten`(
        extensions: Int
    ) throws {
        let chain = (0..<extensions).map { _ in PacketBuilder.extensionHeader(60) }
        func endless(_ text: String) -> PacketBuilder {
            var inner = PacketBuilder.udp6(40_000, 3000, bytes(text), extensions: chain)
            let length = inner.count - text.utf8.count - 4
            inner.replaceSubrange(length..<length + 2, with: [0, 0])
            return PacketBuilder(inner)
        }
        #expect(try blog(endless("do drop me")) == .dropped(.rule))
        #expect(try blog(endless("weakly typed")) == .dropped(.innerMalformed))
        #expect(try blog(endless("hello")).isUntouched(endless("hello")))
        var long = endless("hello")
        long.inner += bytes("drop me")
        #expect(try blog(long).isUntouched(long))
    }

    @Test func `an atomic IPv6 fragment is a whole packet`() throws {
        let chain = [PacketBuilder.fragmentHeader(offset: 0, more: false)]
        let packet = PacketBuilder(
            PacketBuilder.udp6(40_000, 3000, bytes("weakly typed"), extensions: chain))
        let expected = PacketBuilder.udp6(
            40_000, 3000, bytes("strongly typed"), extensions: chain)
        #expect(try blog(packet) == answer(to: packet, expected))
    }

    @Test func `Geneve bytes, ports, TTL, TOS, ID and flags survive a rewrite`() throws {
        var packet = Self.packet("weakly typed")
        packet.timeToLive = 3
        packet.typeOfService = 0xB9
        packet.identification = 0x7777
        packet.flagsAndOffset = 0x4000
        packet.reserved = (0x3F, 0xFF)
        packet.vni = 0xABCDEF
        packet.options = packet.options.reversed() + [.init(0x0103, 0x7F, [1, 2, 3, 4])]
        packet.options[0].reserved = 7
        let expected = Self.chat(bytes("strongly typed"))
        #expect(try blog(packet) == answer(to: packet, expected))
    }

    // ---- The MTU's edge.

    @Test(arguments: [false, true], [8496, 8498, 8499, 8500])
    func `a rewrite may grow up to the MTU and not beyond`(isV6: Bool, length: Int) throws {
        let header = isV6 ? 48 : 28
        let text = "weakly typed" + String(repeating: "x", count: length - header - 12)
        let packet = PacketBuilder(Self.chat(bytes(text), isV6: isV6))
        #expect(packet.inner.count == length)
        let expected = Self.chat(Self.rewritten(text), isV6: isV6)
        let outcome = length <= 8498 ? answer(to: packet, expected) : .dropped(.tooBig)
        #expect(try blog(packet) == outcome)
    }

    @Test func `the MTU is a setting, and concerns rewrites only`() throws {
        let small = settings { $0.mtu = 100 }
        let (long, short) = (String(repeating: "x", count: 200), "weakly typed")
        let untouched = Self.packet(long)
        #expect(try blog(untouched, small).isUntouched(untouched))
        #expect(try blog(Self.packet(long + short), small) == .dropped(.tooBig))
        #expect(
            try blog(Self.packet(short), small)
                == answer(to: Self.packet(short), Self.chat(Self.rewritten(short))))
    }

    @Test func `without room behind the packet a rewrite that grows is too big`() throws {
        for growth in 0..<4 {
            var bench = try Bench(io: MemoryIO(placement: .exact(growth: growth)))
            let packet = Self.packet("weakly typed")
            let expected = answer(to: packet, Self.chat(bytes("strongly typed")))
            #expect(
                bench.outcome(of: packet.bytes()) == (growth < 2 ? .dropped(.tooBig) : expected))
        }
    }

    // ---- Bytes that trail.

    @Test(arguments: [1, 2, 7, 100])
    func `trailing bytes are trimmed on rewrite and kept otherwise`(count: Int) throws {
        var packet = Self.packet("weakly typed")
        packet.trailing = [UInt8](repeating: 0xEE, count: count)
        #expect(
            try blog(packet) == answer(to: packet, Self.chat(bytes("strongly typed"))))
        packet.inner = Self.chat(bytes("strongly typed"))
        #expect(try blog(packet).isUntouched(packet))
    }

    @Test func `trailing bytes are never searched`() throws {
        var packet = Self.packet("hello")
        packet.trailing = bytes("drop me weakly typed")
        #expect(try blog(packet).isUntouched(packet))
    }

    @Test func `bytes beyond the UDP length are never searched, and go along`() throws {
        func inner(_ text: String, beyond: String) -> [UInt8] {
            let whole = Self.chat(bytes(text))
            return PacketBuilder.ipv4(protocolNumber: 17, Array(whole[20...]) + bytes(beyond))
        }
        for beyond in ["drop me", "weakly typed", "x"] {
            let quiet = PacketBuilder(inner("hello", beyond: beyond))
            #expect(try blog(quiet).isUntouched(quiet))
            let packet = PacketBuilder(inner("weakly typed!", beyond: beyond))
            #expect(
                try blog(packet)
                    == answer(to: packet, inner("strongly typed!", beyond: beyond)))
        }
        // Neither is a string that lies across the end.
        var across = Self.chat(bytes("drop me"))
        across.replaceSubrange(24..<26, with: bigEndian(UInt16(8 + 6)))
        #expect(try blog(PacketBuilder(across)).isUntouched(PacketBuilder(across)))
    }

    // ---- Dropping, and what looks like it.

    @Test(arguments: ["drop me", "please drop me", "drop me weakly typed", "weakly typed drop me"])
    func `drop me is dropped, whatever else there is`(text: String) throws {
        for isV6 in [false, true] {
            let packet = PacketBuilder(Self.chat(bytes(text), isV6: isV6))
            #expect(try blog(packet) == .dropped(.rule))
        }
    }

    @Test(arguments: [
        "DROP ME", "Drop me", "drop  me", "drop m", "rop me", "WEAKLY TYPED", "weakly  typed",
        "weakly type", "", "d", "dr", "\u{0}",
    ])
    func `what only resembles a string passes untouched`(text: String) throws {
        for checksum in [.valid, .zero, .wrong] as [PacketBuilder.Checksum] {
            for isV6 in [false, true] {
                let inner = Self.chat(bytes(text), isV6: isV6, checksum: checksum)
                let packet = PacketBuilder(inner)
                #expect(try blog(packet).isUntouched(packet))
            }
        }
    }

    @Test(arguments: ["drop me", "weakly typed"])
    func `other ports and other protocols pass untouched`(text: String) throws {
        let inner = [
            PacketBuilder.udp4(40_000, 3001, bytes(text)),
            PacketBuilder.udp4(2999, 30_000, bytes(text)),
            PacketBuilder.tcp4(40_000, 3000, bytes(text)),
            PacketBuilder.tcp4(3000, 40_000, bytes(text)),
            PacketBuilder.ipv4(protocolNumber: 136, Array(Self.chat(bytes(text))[20...])),
            PacketBuilder.ipv4(protocolNumber: 4, Self.chat(bytes(text))),
            PacketBuilder.ipv4(protocolNumber: 41, Self.chat(bytes(text), isV6: true)),
            PacketBuilder.ipv6(nextHeader: 4, Self.chat(bytes(text))),
        ]
        for packet in inner.map({ PacketBuilder($0) }) {
            #expect(try blog(packet).isUntouched(packet))
        }
    }

    // ---- Fragments.

    @Test func `a first fragment is dropped by its text but never rewritten`() throws {
        for (text, isDropped) in [("drop me", true), ("weakly typed", false)] {
            let long = bytes(text) + [UInt8](repeating: 0, count: 100)
            let v4 = PacketBuilder.udp4(40_000, 3000, long, flagsAndOffset: 0x2000)
            let v6 = PacketBuilder.udp6(
                40_000, 3000, long,
                extensions: [PacketBuilder.fragmentHeader(offset: 0, more: true)])
            for inner in [v4, cutShort(v4, by: 40), v6] {
                let packet = PacketBuilder(inner)
                #expect(
                    try blog(packet) == (isDropped ? .dropped(.rule) : answer(to: packet)))
            }
        }
    }

    /// A first fragment carries less than its UDP length says.
    private func cutShort(_ packet: [UInt8], by count: Int) -> [UInt8] {
        PacketBuilder.ipv4(
            protocolNumber: 17, Array(packet[20..<packet.count - count]), flagsAndOffset: 0x2000)
    }

    @Test(arguments: ["drop me", "weakly typed"])
    func `a later fragment is never searched`(text: String) throws {
        let looksLikeChat = Array(Self.chat(bytes(text))[20...])
        let inner = [
            PacketBuilder.ipv4(protocolNumber: 17, looksLikeChat, flagsAndOffset: 0x0001),
            PacketBuilder.ipv4(protocolNumber: 17, looksLikeChat, flagsAndOffset: 0x2001),
            PacketBuilder.ipv6(
                nextHeader: 17, looksLikeChat,
                extensions: [PacketBuilder.fragmentHeader(offset: 8, more: false)]),
        ]
        for packet in inner.map({ PacketBuilder($0) }) {
            #expect(try blog(packet).isUntouched(packet))
        }
    }

    // ---- Ping.

    @Test func `every fifth ping is dropped, requests and replies alike`() throws {
        var bench = try Bench()
        for type in [0, 8] as [UInt8] {
            for sequence in [0, 1, 2, 3, 4, 5, 6, 10, 255, 256, 65_534, 65_535] as [UInt16] {
                let packet = PacketBuilder(PacketBuilder.icmp4(type: type, sequence: sequence))
                #expect(
                    bench.outcome(of: packet.bytes())
                        == (sequence % 5 == 0 ? .dropped(.rule) : answer(to: packet)))
            }
        }
    }

    @Test func `no other ICMP message has a sequence number`() throws {
        var bench = try Bench()
        for type in 1...255 as ClosedRange<UInt8> where type != 8 {
            let packet = PacketBuilder(
                PacketBuilder.icmp4(type: type, identifier: 0, sequence: 0, bytes("drop me")))
            #expect(bench.outcome(of: packet.bytes()).isUntouched(packet))
        }
    }

    @Test func `ICMPv6 echoes pass, and so do short and fragmented pings`() throws {
        let echo: [UInt8] = [8, 0, 0, 0, 0, 1, 0, 5]
        let inner =
            [128, 129].map { PacketBuilder.icmp6(type: $0, sequence: 5) }
            + (0..<8).map { PacketBuilder.ipv4(protocolNumber: 1, Array(echo[0..<$0])) } + [
                PacketBuilder.ipv4(protocolNumber: 1, echo, flagsAndOffset: 0x0001),
                PacketBuilder.ipv6(nextHeader: 1, echo),
                PacketBuilder.ipv4(protocolNumber: 58, echo),
            ]
        for packet in inner.map({ PacketBuilder($0) }) {
            #expect(try blog(packet).isUntouched(packet))
        }
        let first = PacketBuilder.ipv4(protocolNumber: 1, echo, flagsAndOffset: 0x2000)
        #expect(try blog(PacketBuilder(first)) == .dropped(.rule), "a first fragment has it")
    }

    // ---- Wrong checksums outside and in the inner header.

    @Test func `a wrong inner header checksum passes, but is never rewritten`() throws {
        for (text, outcome) in [
            ("hello", nil), ("weakly typed", .dropped(.innerHeaderChecksum)),
            ("drop me", .dropped(.rule)),
        ] as [(String, Outcome?)] {
            var packet = Self.packet(text)
            packet.inner[10] ^= 0x40
            #expect(try blog(packet) == outcome ?? answer(to: packet))
        }
    }

    @Test func `a wrong outer checksum passes, but is not rewritten by default`() throws {
        var quiet = Self.packet("hello")
        quiet.outerChecksum = .wrong
        var loud = Self.packet("weakly typed")
        loud.outerChecksum = .wrong
        let (never, always) = (
            settings { $0.verifyOuterChecksum = .never },
            settings { $0.verifyOuterChecksum = .always }
        )
        #expect(try blog(quiet).isUntouched(quiet))
        #expect(try blog(loud) == .dropped(.outerChecksum))
        #expect(try blog(quiet, always) == .dropped(.outerChecksum))
        #expect(try blog(loud, always) == .dropped(.outerChecksum))
        #expect(try blog(quiet, never).isUntouched(quiet))
        // It stays wrong by the same difference; all else is right.
        guard case .forwarded(let sent)? = try blog(loud, never) else {
            Issue.record("not forwarded")
            return
        }
        var valid = loud
        valid.outerChecksum = .valid
        guard
            case .forwarded(var expected) = answer(to: valid, Self.chat(bytes("strongly typed")))
        else { return }
        let difference = 0x1234 - Int(checksum(valid.bytes(), 26))
        setChecksum(&expected, 26, Int(checksum(expected, 26)) + difference)
        #expect(sent == expected)
    }

    @Test func `what the kernel has verified is not verified again`() throws {
        var packet = Self.packet("weakly typed")
        packet.outerChecksum = .wrong
        let always = settings { $0.verifyOuterChecksum = .always }
        guard case .forwarded? = try blog(packet, always, facts: .checksumVerified) else {
            Issue.record("not forwarded")
            return
        }
    }

    @Test func `an outer checksum that the backend writes is left alone`() throws {
        var packet = Self.packet("weakly typed")
        packet.outerChecksum = .wrong
        let facts: FrameFacts = [.headerVerified, .checksumVerified, .checksumOnTransmit]
        #expect(
            try blog(packet, facts: facts)
                == answer(to: packet, Self.chat(bytes("strongly typed"))),
            "the builder's wrong checksum is one fixed number: it has not changed")
    }

    @Test func `rule hits are counted by rule, rewritten packets once each`() throws {
        var bench = try Bench()
        let texts = ["drop me", "weakly typed weakly typed", "weakly typed", "hello"]
        bench.enqueue(texts.map { Self.packet($0).bytes() })
        bench.enqueue(
            (1...10).map { sequence in
                PacketBuilder(PacketBuilder.icmp4(type: 8, sequence: sequence)).bytes()
            })
        bench.runDry()
        #expect((0..<3).map { bench.counters.readRule($0) } == [1, 2, 2])
        #expect(bench.counters.read(.packetsRewritten) == 2)
        #expect(bench.counters.read(.rule) == 3)
        #expect(bench.counters.read(.packetsForwarded) == 11)
    }
}
