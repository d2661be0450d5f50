import SluiceCore
import SluiceTesting
import Testing

/// Puts 0x11…, of one width, where the payload's first byte says, and reads on from there.
struct Writer: PacketProcessor {
    static let value: UInt64 = 0x1112_1314_1516_1718

    var done: [Bool] = []
    var next: [UInt8?] = []

    init(configuration: NoConfiguration, worker: Int) {}

    mutating func process(
        _ packet: inout Packet, flow: inout NoFlowState, context: inout Context
    ) -> Verdict {
        var reader = packet.payloadReader
        guard let width = reader.u8(), let place = reader.u8() else { return .forward }
        let at = Int(Int8(bitPattern: place))
        switch width {
        case 1: done.append(packet.write(u8: UInt8(truncatingIfNeeded: Writer.value), at: at))
        case 2: done.append(packet.write(u16: UInt16(truncatingIfNeeded: Writer.value), at: at))
        case 4: done.append(packet.write(u32: UInt32(truncatingIfNeeded: Writer.value), at: at))
        default: done.append(packet.write(u64: Writer.value, at: at))
        }
        reader = packet.payloadReader(from: at + Int(width))
        next.append(reader.u8())
        return .forward
    }
}

/// What a processor of a library's user, and its tests, can do.
@Suite("The library's user")
struct LibraryTests {
    private static let ends = [("192.0.2.1", "198.51.100.2"), ("2001:db8::1", "2001:db8:0:1::2")]

    /// The payload once `width` bytes at `place` are the low ones of `Writer.value`.
    private static func written(_ payload: [UInt8], _ width: Int, _ place: Int) -> [UInt8] {
        var payload = payload
        payload.replaceSubrange(place..<place + width, with: bigEndian(Writer.value).suffix(width))
        return payload
    }

    @Test(arguments: [1, 2, 4, 8], [0, 1])
    func `numbers are written anywhere, with right checksums`(width: Int, family: Int) throws {
        var bench = try Bench(Writer.self)
        let (a, b) = Self.ends[family]
        for length in [11, 12] {
            for place in -2...length {
                let payload =
                    [UInt8(width), UInt8(bitPattern: Int8(place))]
                    + (2..<length).map { UInt8(0xA0 + $0) }
                let fits = place >= 0 && place + width <= length
                let expected = fits ? Self.written(payload, width, place) : payload
                for make in [
                    { PacketBuilder.udp(from: a, 40_000, to: b, 53, $0) },
                    { PacketBuilder.tcp(from: a, 40_000, to: b, 53, $0) },
                ] as [([UInt8]) -> [UInt8]] {
                    let packet = PacketBuilder(make(payload))
                    #expect(
                        bench.outcome(of: packet.bytes()) == answer(to: packet, make(expected)))
                    #expect(bench.worker.processor.done.last == fits)
                    let after = min(max(0, place + width), length)
                    #expect(
                        bench.worker.processor.next.last!
                            == (after < length ? expected[after] : nil))
                }
            }
        }
    }

    @Test func `a fragment is not written to`() throws {
        var bench = try Bench(Writer.self)
        let udp = Array(PacketBuilder.udp4(1, 2, [4, 0, 9, 9, 9, 9, 9, 9])[20...])
        let packet = PacketBuilder(
            PacketBuilder.ipv4(protocolNumber: 17, udp, flagsAndOffset: 0x2000))
        #expect(bench.outcome(of: packet.bytes()).isUntouched(packet))
        #expect(bench.worker.processor.done == [false])
    }

    @Test func `TCP over IPv6 and the names of flags`() throws {
        var bench = try Bench(Reader.self)
        let flags = TCPFlag.syn | TCPFlag.ece
        let packet = PacketBuilder(
            PacketBuilder.tcp6(
                40_000, 443, [1, 2], flags: flags,
                extensions: [PacketBuilder.extensionHeader(60)]))
        #expect(bench.outcome(of: packet.bytes()).isUntouched(packet))
        let reading = try #require(bench.worker.processor.readings.first)
        #expect(reading.version == 6 && reading.protocolNumber == IPProtocol.tcp)
        #expect(reading.tcpFlags == flags && reading.payload == [1, 2])
    }

    @Test(arguments: [
        "192.0.2.1", "2001:db8::1", "::", "::1", "fe80::1:0:0:1", "1:2:3:4:5:6:7:8",
    ])
    func `an address is read as it is printed`(text: String) throws {
        #expect(try #require(IPAddress(text)).description == text)
    }

    @Test(arguments: ["", "1.2.3", "01.2.3.4", "2001:db8", ":::", "a.example", "1.2.3.4/8", "::\0"])
    func `what is no address is none`(text: String) { #expect(IPAddress(text) == nil) }

    @Test func `a text knows its domain`() throws {
        let domain = try #require(InlineText("Example.org"))
        for (name, isWithin) in [
            ("example.ORG", true), ("www.example.org", true), ("badexample.org", false),
            ("example.org.example.com", false), ("org", false), ("", false),
        ] {
            #expect(try #require(InlineText(name)).isWithin(domain: domain) == isWithin, "\(name)")
        }
        #expect(InlineText(String(repeating: "a", count: 256)) == nil)
    }

    @Test func `a test sees why a packet was dropped`() throws {
        var bench = try ProcessorBench(BlogPolicy.self, configuration: NoConfiguration())
        let good = PacketBuilder(PacketBuilder.udp4(1, 2, bytes("hello")))
        #expect(bench.send(good) != nil && bench.dropReason == nil)
        let bad = PacketBuilder(BlogPolicyTests.chat(bytes("drop me")))
        #expect(bench.send(bad) == nil && bench.dropReason == .rule)
        var strange = good
        strange.version = 1
        #expect(bench.send(strange) == nil && bench.dropReason == .geneveVersion)
        bench.worker.io.inject(.partialSend(0))
        #expect(bench.send(good) == nil && bench.dropReason == .send)
        #expect(bench.send(good) != nil && bench.dropReason == nil)
    }

    @Test func `a processor is measured`() throws {
        let packets = (0..<64).map { PacketBuilder(PacketBuilder.udp4(40_000 + $0, 2, [1])) }
        let cost = try ProcessorBench.nanosecondsPerPacket(
            PassThrough.self, configuration: NoConfiguration(), packets, rounds: 5)
        #expect(cost > 0)
    }
}
