import SluiceTesting
import Testing
import Wire

@Suite struct EncapsulationTests {
    static let header = GatewayHeader(
        node: 0x0A4D_0001, target: 0x0A4D_0002, sourcePort: 25_322,
        endpoint: 0x2356_de92_d389_839c, cookie: 0x98ef_1b00)

    /// The header of a captured packet (docs/gateway.md).
    @Test func bytesOfTheCapture() {
        let inner = PacketBuilder.icmp4(type: 8, sequence: 1)
        let outer = Encapsulation.packet(Self.header, inner: inner)
        #expect(outer.count == 152)
        #expect(Array(outer[0..<10]) == [0x45, 0, 0, 152, 0, 0, 0, 0, 255, 17])
        #expect(
            Array(outer[12..<26]) == [10, 77, 0, 1, 10, 77, 0, 2, 0x62, 0xEA, 0x17, 0xC1, 0, 132])
        #expect(
            Array(outer[28..<68]) == [
                0x08, 0, 0x08, 0, 0, 0, 0, 0,
                0x01, 0x08, 0x01, 0x02, 0x23, 0x56, 0xde, 0x92, 0xd3, 0x89, 0x83, 0x9c,
                0x01, 0x08, 0x02, 0x02, 0, 0, 0, 0, 0, 0, 0, 0,
                0x01, 0x08, 0x03, 0x01, 0x98, 0xef, 0x1b, 0x00,
            ])
        #expect(Array(outer[68...]) == inner)
    }

    /// Byte for byte what the independent builder makes, checksums included.
    @Test func agreesWithTheBuilder() {
        for inner in Shapes.all() + [PacketBuilder.udp4(1, 2, [7])] {
            var header = Self.header
            header.innerVersion = inner[0] >> 4
            #expect(Encapsulation.packet(header, inner: inner) == PacketBuilder(inner).bytes())
            var builder = PacketBuilder(inner)
            builder.outerChecksum = .zero
            #expect(
                Encapsulation.packet(header, inner: inner, checksum: .zero) == builder.bytes())
        }
    }

    /// RFC 768: a computed zero is sent as all ones.
    @Test func aComputedZeroIsAllOnes() {
        var inner = PacketBuilder.udp4(1, 2, [0, 0])
        let outer = Encapsulation.packet(Self.header, inner: inner)
        // Adds what is left to all ones in the last two bytes, so that the sum becomes -0.
        inner.replaceSubrange(28..<30, with: outer[26..<28])
        #expect(Encapsulation.packet(Self.header, inner: inner)[26..<28] == [0xFF, 0xFF])
    }

    @Test func aKnownInnerSumGivesTheSamePacket() {
        for inner in Shapes.all() {
            let whole = Encapsulation.packet(Self.header, inner: inner)
            var bytes = [UInt8](repeating: 0, count: 68) + inner
            withPacketView(&bytes) { view in
                var sum = InternetChecksum()
                sum.add(view, at: 68, count: inner.count)
                Encapsulation.write(Self.header, innerSum: sum, to: view)
            }
            var expected = whole
            if inner[0] >> 4 == 6 { expected = bytes }
            #expect(bytes == expected)
        }
    }

    @Test func everyGeneveBitCounts() {
        let outer = Encapsulation.packet(Self.header, inner: PacketBuilder.udp4(1, 2, []))
        func isTheFlows(_ bytes: [UInt8]) -> Bool {
            var bytes = bytes
            return withPacketView(&bytes) {
                Encapsulation.hasGeneve(of: Self.header, $0, at: Encapsulation.geneveOffset)
            }
        }
        #expect(isTheFlows(outer))
        for bit in 0..<320 {
            #expect(!isTheFlows(outer.flipping(28 + bit / 8, 0x80 >> UInt8(bit % 8))))
        }
        #expect(!isTheFlows(Array(outer[0..<60])))
    }
}
