import SluiceTesting
import Testing
import Wire

@Suite struct IPv6HeaderTests {
    private let golden = hex(
        "6 ab 12345",  // version 6, traffic class 0xab, flow label 0x12345
        "0014",  // payload length 20
        "06",  // TCP
        "3f",  // hop limit 63
        "20010db8 00000000 00000000 00000001",  // 2001:db8::1
        "fd000000 00000000 8000ffff fffffffe")  // fd00::8000:ffff:ffff:fffe

    @Test("RFC 8200 §3: a golden header, field by field")
    func readsGolden() throws {
        let header = try #require(read(golden) { IPv6Header($0, at: 0) })
        #expect(header.version == 6)
        #expect(header.trafficClass == 0xab)
        #expect(header.flowLabel == 0x12345)
        #expect(header.payloadLength == 20)
        #expect(header.nextHeader == IPProtocol.tcp)
        #expect(header.hopLimit == 63)
        #expect(header.source == IPv6Address(0x2001_0db8_0000_0000, 1))
        #expect(header.destination == IPv6Address(0xfd00_0000_0000_0000, 0x8000_ffff_ffff_fffe))
        #expect(written(40) { header.write(to: $0) } == golden)
    }

    @Test("RFC 8200 §3: nil at every cut short of 40 bytes")
    func truncated() {
        #expect(needs(40, of: golden) { IPv6Header($0, at: 0) })
        let shifted = [0xEE, 0xEE, 0xEE] + golden
        #expect(needs(43, of: shifted) { IPv6Header($0, at: 3) })
        #expect(read(golden) { IPv6Header($0, at: -1) } == nil)
        #expect(read(golden) { IPv6Header($0, at: 41) } == nil)
    }

    // ---- Every bit-field.

    @Test("RFC 8200 §3: version and traffic class, all 4,096 values of the first 12 bits")
    func versionAndClass() {
        let bad = failures(0...0xFFF as ClosedRange<UInt32>) { top in
            firstWord(top << 20 | 0x5_4321) { header in
                UInt32(header.version) == top / 256 && UInt32(header.trafficClass) == top % 256
                    && header.flowLabel == 0x5_4321
                    && header.isWellFormed(available: 60) == (top / 256 == 6)
            }
        }
        #expect(bad.isEmpty)
    }

    @Test("RFC 8200 §3, RFC 6437 §2: the flow label's 20 bits")
    func flowLabel() {
        // All values of the low 16 bits, each with every value of the upper four in turn.
        let bad = failures(words) { low in
            let label = UInt32(low % 16) << 16 | UInt32(low)
            return firstWord(0x6A50_0000 | label) { header in
                header.flowLabel == label && header.version == 6 && header.trafficClass == 0xA5
            }
        }
        #expect(bad.isEmpty)
    }

    @Test("RFC 8200 §3: a flow label of more than 20 bits does not spill into its neighbours")
    func flowLabelIsMasked() {
        var header = IPv6Header()
        header.flowLabel = .max
        #expect(Array(written(40) { header.write(to: $0) }[0..<4]) == hex("600fffff"))
    }

    @Test(
        "RFC 8200 §3: payload length fits the bytes there are", arguments: [40, 60, 1500, 65_575])
    func payloadLength(available: Int) {
        let bad = read(golden) { view in
            failures(words) { value in
                view.set16(4, value)
                guard let header = IPv6Header(view, at: 0) else { return false }
                return header.payloadLength == value
                    && header.isWellFormed(available: available) == (Int(value) + 40 <= available)
            }
        }
        #expect(bad.isEmpty)
    }

    @Test(
        "RFC 8200 §3: next header and hop limit, all values",
        arguments: [(6, \IPv6Header.nextHeader), (7, \IPv6Header.hopLimit)]
            as [(Int, Field<IPv6Header, UInt8>)])
    func octet(offset: Int, field: Field<IPv6Header, UInt8>) {
        #expect(misread(field, at: offset, of: golden) { IPv6Header($0, at: 0) }.isEmpty)
    }

    @Test("RFC 8200 §3: what is read is written back, and nothing beside it")
    func roundTrips() {
        let changed = changedByRoundTrip(
            length: 40, seed: 8200, read: { IPv6Header($0, at: 0) },
            write: { $0.write(to: $1, at: $2) })
        #expect(changed.isEmpty)
    }

    /// Reads a header with this first word, asks `holds`, and demands that writing gives it back.
    private func firstWord(_ word: UInt32, _ holds: (IPv6Header) -> Bool) -> Bool {
        var bytes = golden
        bytes.replaceSubrange(0..<4, with: bigEndian(word))
        guard let header = read(bytes, { IPv6Header($0, at: 0) }) else { return false }
        return holds(header) && written(40) { header.write(to: $0) } == bytes
    }
}

@Suite struct IPv6AddressTests {
    @Test("RFC 4291 §2.1: ordered as 128-bit numbers, as their bytes are")
    func order() {
        var random = SeededGenerator(seed: 4291)
        let few: [UInt64] = [0, 1, 0x8000_0000_0000_0000, .max, random.next()]
        let addresses = few.flatMap { high in few.map { IPv6Address(high, $0) } }
        for a in addresses {
            let bad = failures(addresses) { b in
                let bytes = (
                    bigEndian(a.high) + bigEndian(a.low), bigEndian(b.high) + bigEndian(b.low)
                )
                return (a < b) == bytes.0.lexicographicallyPrecedes(bytes.1)
                    && (a == b) == (bytes.0 == bytes.1)
            }
            #expect(bad.isEmpty)
        }
    }
}
