import SluiceTesting
import Testing
import Wire

@Suite struct UDPHeaderTests {
    private let golden = hex(
        "62ea",  // source port 25322
        "17c1",  // destination port 6081
        "0084",  // length 132
        "e39c")  // checksum

    @Test("RFC 768: a golden header, field by field")
    func readsGolden() throws {
        let header = try #require(read(golden) { UDPHeader($0, at: 0) })
        #expect(header.sourcePort == 25_322)
        #expect(header.destinationPort == GeneveHeader.port)
        #expect(header.datagramLength == 132)
        #expect(header.checksum == 0xe39c)
        #expect(written(8) { header.write(to: $0, at: 0) } == golden)
    }

    @Test("RFC 768: nil at every cut short of 8 bytes")
    func truncated() {
        #expect(needs(8, of: golden) { UDPHeader($0, at: 0) })
        #expect(needs(11, of: [1, 2, 3] + golden) { UDPHeader($0, at: 3) })
        #expect(read(golden) { UDPHeader($0, at: -1) } == nil)
        #expect(read(golden) { UDPHeader($0, at: 9) } == nil)
    }

    @Test(
        "RFC 768: every field, all values",
        arguments: [
            (0, \UDPHeader.sourcePort), (2, \UDPHeader.destinationPort),
            (4, \UDPHeader.datagramLength), (6, \UDPHeader.checksum),
        ] as [(Int, Field<UDPHeader, UInt16>)])
    func word(offset: Int, field: Field<UDPHeader, UInt16>) {
        #expect(misread(field, at: offset, of: golden) { UDPHeader($0, at: 0) }.isEmpty)
    }

    @Test("RFC 768: what is read is written back, and nothing beside it")
    func roundTrips() {
        let changed = changedByRoundTrip(
            length: 8, seed: 768, read: { UDPHeader($0, at: 0) },
            write: { $0.write(to: $1, at: $2) })
        #expect(changed.isEmpty)
    }
}
