import SluiceTesting
import Testing
import Wire

@Suite struct ICMPHeaderTests {
    private let golden = hex(
        "08",  // echo request
        "00",  // code
        "4d2b",  // checksum
        "beef",  // identifier
        "0005")  // sequence number

    @Test("RFC 792: a golden echo request, field by field")
    func readsGolden() throws {
        let header = try #require(read(golden) { ICMPHeader($0, at: 0) })
        #expect(header.type == ICMPHeader.echoRequest)
        #expect(header.code == 0)
        #expect(header.checksum == 0x4d2b)
        #expect(header.identifier == 0xbeef)
        #expect(header.sequence == 5)
        #expect(written(8) { header.write(to: $0, at: 0) } == golden)
    }

    @Test("RFC 792, RFC 4443 §4.1, §4.2: the numbers of the echo messages")
    func numbers() {
        #expect(ICMPHeader.echoReply == 0)
        #expect(ICMPHeader.echoRequest == 8)
        #expect(ICMPHeader.echoRequestV6 == 128)
        #expect(ICMPHeader.echoReplyV6 == 129)
    }

    @Test("RFC 792: nil at every cut short of 8 bytes")
    func truncated() {
        #expect(needs(8, of: golden) { ICMPHeader($0, at: 0) })
        #expect(needs(11, of: [1, 2, 3] + golden) { ICMPHeader($0, at: 3) })
        #expect(read(golden) { ICMPHeader($0, at: -1) } == nil)
        #expect(read(golden) { ICMPHeader($0, at: 9) } == nil)
    }

    @Test("RFC 792: type and code, all 65,536 pairs")
    func typeAndCode() {
        let bad = read(golden) { view in
            failures(words) { value in
                view.set16(0, value)
                guard let header = ICMPHeader(view, at: 0) else { return false }
                return UInt16(header.type) == value / 256 && UInt16(header.code) == value % 256
            }
        }
        #expect(bad.isEmpty)
    }

    @Test(
        "RFC 792: 16-bit fields, all values",
        arguments: [
            (2, \ICMPHeader.checksum), (4, \ICMPHeader.identifier), (6, \ICMPHeader.sequence),
        ] as [(Int, Field<ICMPHeader, UInt16>)])
    func word(offset: Int, field: Field<ICMPHeader, UInt16>) {
        #expect(misread(field, at: offset, of: golden) { ICMPHeader($0, at: 0) }.isEmpty)
    }

    @Test("RFC 792: what is read is written back, and nothing beside it")
    func roundTrips() {
        let changed = changedByRoundTrip(
            length: 8, seed: 792, read: { ICMPHeader($0, at: 0) },
            write: { $0.write(to: $1, at: $2) })
        #expect(changed.isEmpty)
    }
}
