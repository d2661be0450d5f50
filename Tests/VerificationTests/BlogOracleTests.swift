import SluiceTesting
import Testing
import Verification

@Suite struct BlogOracleTests {
    private func text(_ string: String) -> [UInt8] { Array(string.utf8) }
    private let weakly = Array("a weakly typed programming language".utf8)
    private let strongly = Array("a strongly typed programming language".utf8)

    /// Chat packets with the words are dropped, first fragments too.
    @Test func dropMe() {
        let payload = text("please drop me now")
        for packet in [
            PacketBuilder.udp4(3000, 9, payload), PacketBuilder.udp4(9, 3000, payload),
            PacketBuilder.udp6(3000, 9, payload), PacketBuilder.udp6(9, 3000, payload),
            PacketBuilder.udp4(9, 3000, payload, options: [1, 1, 1, 0]),
            PacketBuilder.udp4(9, 3000, payload, checksum: .wrong),
            PacketBuilder.udp4(9, 3000, payload, flagsAndOffset: 0x2000),
            PacketBuilder.udp4(9, 3000, text("weakly typed, drop me")),
            PacketBuilder.udp4(9, 3000, text("drop me")),
        ] {
            #expect(BlogOracle.expect(packet) == .drop)
        }
        for packet in [
            PacketBuilder.udp4(3001, 9, payload), PacketBuilder.tcp4(9, 3000, payload),
            PacketBuilder.udp4(9, 3000, text("DROP ME")),
            PacketBuilder.udp4(9, 3000, text("drop m")),
            PacketBuilder.udp4(9, 3000, []),
            PacketBuilder.udp4(3000, 9, text("drop me"), flagsAndOffset: 1),
        ] {
            #expect(BlogOracle.expect(packet) == .forward(packet))
        }
    }

    /// The rewritten packet is the same packet built with the other text, by an independent builder.
    @Test func stronglyTyped() {
        for checksum in [.valid, .zero] as [PacketBuilder.Checksum] {
            #expect(
                BlogOracle.expect(PacketBuilder.udp4(9, 3000, weakly, checksum: checksum))
                    == .forward(PacketBuilder.udp4(9, 3000, strongly, checksum: checksum)))
            #expect(
                BlogOracle.expect(PacketBuilder.udp6(3000, 9, weakly, checksum: checksum))
                    == .forward(PacketBuilder.udp6(3000, 9, strongly, checksum: checksum)))
        }
        let options: [UInt8] = [1, 1, 1, 0]
        #expect(
            BlogOracle.expect(PacketBuilder.udp4(9, 3000, weakly, options: options))
                == .forward(PacketBuilder.udp4(9, 3000, strongly, options: options)))
        #expect(
            BlogOracle.expect(PacketBuilder.udp4(9, 3000, weakly + weakly + [0]))
                == .forward(PacketBuilder.udp4(9, 3000, strongly + strongly + [0])))
        let chain: [(number: UInt8, bytes: [UInt8])] = [
            (0, [0, 0, 1, 4, 0, 0, 0, 0]), (44, [0, 0, 0, 0, 1, 2, 3, 4]),
        ]
        #expect(
            BlogOracle.expect(PacketBuilder.udp6(9, 3000, weakly, extensions: chain))
                == .forward(PacketBuilder.udp6(9, 3000, strongly, extensions: chain)))
    }

    /// RFC 1624: a wrong checksum stays wrong by the same difference.
    @Test func aWrongChecksumStaysAsWrong() throws {
        let right = PacketBuilder.udp4(9, 3000, weakly)
        for difference in [1, 2, 0x1234, 0x8000, 0xFFFE] {
            var wrong = right
            let old = Int(right[26]) << 8 | Int(right[27])
            let sum = (old + difference) % 65535
            wrong.replaceSubrange(26..<28, with: bigEndian(UInt16(sum == 0 ? 65535 : sum)))
            guard case .forward(let new) = BlogOracle.expect(wrong) else {
                Issue.record("dropped")
                return
            }
            let good = PacketBuilder.udp4(9, 3000, strongly)
            let expected = (Int(good[26]) << 8 | Int(good[27])) + difference
            #expect((Int(new[26]) << 8 | Int(new[27])) % 65535 == expected % 65535)
            #expect(Array(new[0..<26]) == Array(good[0..<26]))
            #expect(Array(new[28...]) == Array(good[28...]))
        }
    }

    /// RFC 8200 §4.1 has one at most, and hosts differ in what they make of two.
    @Test func twoFragmentHeaders() {
        for chain in [[1, 0], [0, 1], [0, 0]] as [[UInt8]] {
            let packet = PacketBuilder.udp6(
                9, 3000, weakly, extensions: chain.map { (44, [0, 0, 0, $0, 1, 2, 3, 4]) })
            #expect(BlogOracle.expect(packet) == .drop)
        }
    }

    /// RFC 2675 §4: over IPv6 a length of 0 runs to the end of the packet.
    @Test func withoutLength() {
        func endless(_ text: [UInt8]) -> [UInt8] {
            var packet = PacketBuilder.udp6(9, 3000, text)
            packet.replaceSubrange(44..<46, with: [0, 0])
            return packet
        }
        #expect(BlogOracle.expect(endless(weakly)) == .drop)
        #expect(BlogOracle.expect(endless(Array("do drop me".utf8))) == .drop)
        let calm = endless(Array("hello".utf8))
        #expect(BlogOracle.expect(calm) == .forward(calm))
    }

    @Test func neverRewritten() {
        let badHeader = PacketBuilder.udp4(9, 3000, weakly).flipping(10)
        #expect(BlogOracle.expect(badHeader) == .drop)
        for packet in [
            PacketBuilder.udp4(9, 3000, weakly, flagsAndOffset: 0x2000),
            PacketBuilder.udp4(9, 3000, weakly, flagsAndOffset: 0x0005),
            PacketBuilder.tcp4(9, 3000, weakly),
            PacketBuilder.udp4(9, 3000, text("hello")).flipping(10),
        ] {
            #expect(BlogOracle.expect(packet) == .forward(packet))
        }
    }

    @Test func trailingBytes() {
        let plain = PacketBuilder.udp4(9, 3000, text("hello")) + [1, 2, 3]
        #expect(BlogOracle.expect(plain) == .forward(plain))
        #expect(
            BlogOracle.expect(PacketBuilder.udp4(9, 3000, weakly) + [1, 2, 3])
                == .forward(PacketBuilder.udp4(9, 3000, strongly)))
        let hidden = PacketBuilder.udp4(9, 3000, text("hello")) + text("drop me")
        #expect(BlogOracle.expect(hidden) == .forward(hidden))
    }

    /// Bytes beyond the UDP length are never searched, but kept.
    @Test func bytesBeyondTheUDPLength() {
        func packet(_ text: [UInt8], _ beyond: [UInt8]) -> [UInt8] {
            let datagram = PacketBuilder.udp(
                source: [192, 168, 1, 10], destination: [192, 168, 2, 10], 9, 3000, text)
            return PacketBuilder.ipv4(protocolNumber: 17, datagram + beyond)
        }
        let quiet = packet(text("hi"), text("drop me weakly typed"))
        #expect(BlogOracle.expect(quiet) == .forward(quiet))
        #expect(
            BlogOracle.expect(packet(weakly, text("drop me")))
                == .forward(packet(strongly, text("drop me"))))
    }

    @Test func theMTUEdge() {
        func packet(_ word: String, _ length: Int) -> [UInt8] {
            PacketBuilder.udp4(
                9, 3000, text(word) + [UInt8](repeating: 0x2E, count: length - 28 - word.utf8.count)
            )
        }
        #expect(
            BlogOracle.expect(packet("weakly typed", 8498))
                == .forward(packet("strongly typed", 8500)))
        #expect(BlogOracle.expect(packet("weakly typed", 8499)) == .drop)
        let large = packet("nothing", 8600)
        #expect(BlogOracle.expect(large) == .forward(large))
    }

    /// Every fifth ping is dropped: only IPv4 echo messages.
    @Test func everyFifthPing() {
        for sequence in 0...20 as ClosedRange<UInt16> {
            for type in [0, 8] as [UInt8] {
                let ping = PacketBuilder.icmp4(type: type, sequence: sequence)
                let expected = sequence % 5 == 0 ? BlogOracle.Outcome.drop : .forward(ping)
                #expect(BlogOracle.expect(ping) == expected)
            }
            for other in [
                PacketBuilder.icmp4(type: 3, sequence: sequence),
                PacketBuilder.icmp4(type: 11, sequence: sequence),
                PacketBuilder.icmp6(type: 128, sequence: sequence),
            ] {
                #expect(BlogOracle.expect(other) == .forward(other))
            }
        }
        let short = PacketBuilder.ipv4(protocolNumber: 1, [8, 0, 0, 0, 0, 0, 0])
        #expect(BlogOracle.expect(short) == .forward(short))
    }

    @Test func malformedPacketsAreDropped() {
        let packet = PacketBuilder.udp4(9, 9, [1, 2, 3])
        for bad in [
            [], [0x45], Array(packet.dropLast()), [0x44] + packet[1...], [0x55] + packet[1...],
            Array(PacketBuilder.udp6(9, 9, [1]).dropLast()),
            PacketBuilder.ipv6(
                nextHeader: 59, [],
                extensions: Array(repeating: (60, [0, 0, 1, 4, 0, 0, 0, 0]), count: 9)),
        ] as [[UInt8]] {
            #expect(BlogOracle.expect(bad) == .drop)
        }
        for good in Shapes.all() { #expect(BlogOracle.expect(good) == .forward(good)) }
    }
}
