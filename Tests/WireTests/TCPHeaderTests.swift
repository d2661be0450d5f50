import SluiceTesting
import Testing
import Wire

@Suite struct TCPHeaderTests {
    private let golden = hex(
        "c350",  // source port 50000
        "01bb",  // destination port 443
        "89abcdef",  // sequence number
        "01234567",  // acknowledgement number
        "a0",  // data offset 10 words, reserved 0
        "12",  // ACK SYN
        "fff0",  // window
        "1c46",  // checksum
        "0007")  // urgent pointer

    @Test("RFC 9293 §3.1: a golden header, field by field")
    func readsGolden() throws {
        let header = try #require(read(golden) { TCPHeader($0, at: 0) })
        #expect(header.sourcePort == 50_000)
        #expect(header.destinationPort == 443)
        #expect(header.sequence == 0x89ab_cdef)
        #expect(header.acknowledgement == 0x0123_4567)
        #expect(header.headerLength == 40)
        #expect(header.flags == 0b0001_0010)
        #expect(header.window == 0xfff0)
        #expect(header.checksum == 0x1c46)
        #expect(header.urgentPointer == 7)
        #expect(written(20) { header.write(to: $0, at: 0) } == golden)
    }

    @Test("RFC 9293 §3.1: nil at every cut short of 20 bytes")
    func truncated() {
        #expect(needs(20, of: golden) { TCPHeader($0, at: 0) })
        #expect(needs(23, of: [1, 2, 3] + golden) { TCPHeader($0, at: 3) })
        #expect(read(golden) { TCPHeader($0, at: -1) } == nil)
        #expect(read(golden) { TCPHeader($0, at: 21) } == nil)
    }

    @Test("RFC 9293 §3.1: data offset and reserved bits, all 256 octets")
    func dataOffset() {
        let bad = read(golden) { view in
            failures(octets) { octet in
                view.set8(12, octet)
                guard let header = TCPHeader(view, at: 0), header.flags == 0x12 else {
                    return false
                }
                // Reserved bits are ignored when read and zero when written.
                let rewritten = written(20) { header.write(to: $0, at: 0) }[12]
                return header.headerLength == Int(octet / 16) * 4 && rewritten == octet & 0xF0
            }
        }
        #expect(bad.isEmpty)
    }

    @Test("RFC 9293 §3.1: the eight flags, all values")
    func flags() {
        #expect(misread(\.flags, at: 13, of: golden) { TCPHeader($0, at: 0) }.isEmpty)
    }

    @Test(
        "RFC 9293 §3.1: 16-bit fields, all values",
        arguments: [
            (0, \TCPHeader.sourcePort), (2, \TCPHeader.destinationPort), (14, \TCPHeader.window),
            (16, \TCPHeader.checksum), (18, \TCPHeader.urgentPointer),
        ] as [(Int, Field<TCPHeader, UInt16>)])
    func word(offset: Int, field: Field<TCPHeader, UInt16>) {
        #expect(misread(field, at: offset, of: golden) { TCPHeader($0, at: 0) }.isEmpty)
    }

    @Test("RFC 9293 §3.1: what is read is written back, and nothing beside it")
    func roundTrips() {
        let changed = changedByRoundTrip(
            length: 20, seed: 9293, ignoring: [12: 0x0F], read: { TCPHeader($0, at: 0) },
            write: { $0.write(to: $1, at: $2) })
        #expect(changed.isEmpty)
    }
}
