import SluiceTesting
import Testing
import Wire

@Suite struct IPv4HeaderTests {
    /// A header whose checksum is worked out by hand in many textbooks.
    private let golden = hex(
        "45",  // version 4, IHL 5
        "00",  // type of service
        "0073",  // total length 115
        "0001",  // identification
        "4000",  // DF, offset 0
        "40",  // TTL 64
        "11",  // UDP
        "b860",  // header checksum
        "c0a80001",  // 192.168.0.1
        "c0a800c7")  // 192.168.0.199

    @Test("RFC 791 §3.1: a golden header, field by field")
    func readsGolden() throws {
        let header = try #require(read(golden) { IPv4Header($0, at: 0) })
        #expect(header.version == 4)
        #expect(header.headerLength == 20)
        #expect(header.typeOfService == 0)
        #expect(header.totalLength == 115)
        #expect(header.identification == 1)
        #expect(header.flagsAndOffset == 0x4000)
        #expect(header.dontFragment)
        #expect(!header.moreFragments)
        #expect(header.fragmentOffset == 0)
        #expect(!header.isFragment)
        #expect(header.timeToLive == 64)
        #expect(header.protocolNumber == IPProtocol.udp)
        #expect(header.checksum == 0xb860)
        #expect(header.source == IPv4Address.parse("192.168.0.1"))
        #expect(header.destination == IPv4Address.parse("192.168.0.199"))
        #expect(header.isWellFormed(available: 115))
        #expect(read(golden) { IPv4Header.verifyChecksum($0, at: 0, length: 20) })
    }

    /// What GWLB puts before the Geneve header (docs/gateway.md).
    @Test func writesWhatGWLBSends() {
        var header = IPv4Header()
        header.totalLength = 152
        header.timeToLive = 255
        header.protocolNumber = IPProtocol.udp
        header.source = 0x0A4D_0001
        header.destination = 0x0A4D_0002
        let bytes = written(20) { view in
            header.write(to: view)
            IPv4Header.writeChecksum(view, at: 0, length: 20)
        }
        let plain = hex("45 00 0098 0000 0000 ff 11 0000 0a4d0001 0a4d0002")
        let checksum = bigEndian(internetChecksum(plain))
        #expect(bytes == Array(plain[0..<10]) + checksum + plain[12...])
    }

    @Test("RFC 791 §3.1: nil at every cut short of 20 bytes")
    func truncated() {
        #expect(needs(20, of: golden) { IPv4Header($0, at: 0) })
        for offset in [1, 7, 20] {
            let shifted = [UInt8](repeating: 0xEE, count: offset) + golden
            #expect(needs(offset + 20, of: shifted) { IPv4Header($0, at: offset) })
        }
        #expect(read(golden) { IPv4Header($0, at: -1) } == nil)
        #expect(read(golden) { IPv4Header($0, at: 21) } == nil)
    }

    // ---- Every bit-field, exhaustively.

    @Test("RFC 791 §3.1: version and IHL, all 256 first octets")
    func firstOctet() {
        let bad = failures(octets) { octet in
            guard let header = read(replacing(0, with: [octet]), { IPv4Header($0, at: 0) })
            else { return false }
            let version = octet / 16
            let length = Int(octet % 16) * 4
            return header.version == version && header.headerLength == length
                && header.isWellFormed(available: 115) == (version == 4 && length >= 20)
                && written(20) { header.write(to: $0) }[0] == octet
        }
        #expect(bad.isEmpty)
    }

    @Test("RFC 791 §3.1: flags and fragment offset, all 65,536 values")
    func flagsAndOffset() {
        let bad = read(golden) { view in
            failures(words) { value in
                view.set16(6, value)
                guard let header = IPv4Header(view, at: 0) else { return false }
                let offset = Int(value % 8192) * 8
                let more = value / 8192 % 2 == 1
                return header.flagsAndOffset == value
                    && header.dontFragment == (value / 16384 % 2 == 1)
                    && header.moreFragments == more && header.fragmentOffset == offset
                    && header.isFragment == (more || offset > 0)
            }
        }
        #expect(bad.isEmpty)
    }

    @Test(
        "RFC 791 §3.1: single octets, all values",
        arguments: [
            (1, \IPv4Header.typeOfService), (8, \IPv4Header.timeToLive),
            (9, \IPv4Header.protocolNumber),
        ] as [(Int, Field<IPv4Header, UInt8>)])
    func octet(offset: Int, field: Field<IPv4Header, UInt8>) {
        #expect(misread(field, at: offset, of: golden) { IPv4Header($0, at: 0) }.isEmpty)
    }

    @Test(
        "RFC 791 §3.1: 16-bit fields, all values",
        arguments: [
            (2, \IPv4Header.totalLength), (4, \IPv4Header.identification),
            (10, \IPv4Header.checksum),
        ] as [(Int, Field<IPv4Header, UInt16>)])
    func word(offset: Int, field: Field<IPv4Header, UInt16>) {
        #expect(misread(field, at: offset, of: golden) { IPv4Header($0, at: 0) }.isEmpty)
    }

    @Test(
        "RFC 791 §3.1, RFC 1122 §3.2.1: total length fits the header and the bytes there are",
        arguments: [(20, 20), (20, 115), (24, 40), (60, 60), (60, 59), (60, 65_535)])
    func totalLength(headerLength: Int, available: Int) {
        var header = IPv4Header()
        header.headerLength = headerLength
        let bad = failures(words) {
            header.totalLength = $0
            let fits = Int($0) >= headerLength && Int($0) <= available
            return header.isWellFormed(available: available) == fits
        }
        #expect(bad.isEmpty)
    }

    // ---- Writing.

    @Test("RFC 791 §3.1: what is read is written back, and nothing beside it")
    func roundTrips() {
        let changed = changedByRoundTrip(
            length: 20, seed: 791, read: { IPv4Header($0, at: 0) },
            write: { $0.write(to: $1, at: $2) })
        #expect(changed.isEmpty)
    }

    // ---- Header checksum.

    @Test("RFC 791 §3.1: the checksum of headers of 20 to 60 bytes", arguments: 5...15)
    func checksum(words length: Int) {
        var random = SeededGenerator(seed: UInt64(length))
        let header = [0x40 | UInt8(length)] + random.bytes(length * 4 - 1)
        let bytes = read(header) { view in
            IPv4Header.writeChecksum(view, at: 0, length: length * 4)
            return (0..<length * 4).map { view.u8($0) }
        }
        let plain = Array(header[0..<10]) + [0, 0] + header[12...]
        #expect(Array(bytes[10..<12]) == bigEndian(internetChecksum(plain)))
        #expect(read(bytes) { IPv4Header.verifyChecksum($0, at: 0, length: length * 4) })
    }

    @Test("RFC 791 §3.1: every single wrong bit of a header is noticed")
    func singleBitErrors() {
        let bad = failures(0..<160) { bit in
            let flipped = golden[bit / 8] ^ (0x80 >> UInt8(bit % 8))
            return !read(replacing(bit / 8, with: [flipped])) {
                IPv4Header.verifyChecksum($0, at: 0, length: 20)
            }
        }
        #expect(bad.isEmpty)
    }

    @Test("RFC 791 §3.1: one checksum value alone is right")
    func oneChecksumVerifies() {
        let right = read(golden) { view in
            (0...0xFFFF).filter {
                view.set16(10, UInt16($0))
                return IPv4Header.verifyChecksum(view, at: 0, length: 20)
            }
        }
        #expect(right == [0xb860])
    }

    private func replacing(_ offset: Int, with bytes: [UInt8]) -> [UInt8] {
        var changed = golden
        changed.replaceSubrange(offset..<offset + bytes.count, with: bytes)
        return changed
    }

    /// RFC 1624 §3, as RFC 1141 §2 has it for this change, with every checksum that can stand there.
    @Test func `turning around swaps the addresses, takes one hop and updates the checksum`() {
        var bytes: [UInt8] = Array(0..<20)
        for checksum in UInt32(0)...0xFFFF {
            for hops in [2, 64, 255] as [UInt8] {
                for (i, byte) in [hops, 17, UInt8(checksum >> 8), UInt8(checksum & 255)]
                    .enumerated()
                {
                    bytes[8 + i] = byte
                }
                var expected = bytes
                expected.replaceSubrange(12..<20, with: bytes[16..<20] + bytes[12..<16])
                var kept = bytes
                withPacketView(&kept) { IPv4Header.turnAround($0, hop: 0) }
                let isKept = kept == expected
                expected[8] -= 1
                let sum = checksum + 0x100 >= 0xFFFF ? checksum + 0x101 : checksum + 0x100
                expected[10] = UInt8(sum >> 8 & 255)
                expected[11] = UInt8(sum & 255)
                var turned = bytes
                withPacketView(&turned) { IPv4Header.turnAround($0, hop: IPv4Header.oneHop) }
                guard isKept, turned == expected else {
                    return #expect(turned == expected, "\(checksum) \(hops)")
                }
            }
        }
    }
}
