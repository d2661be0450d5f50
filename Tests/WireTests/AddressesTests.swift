import SluiceTesting
import Testing
import Wire

@Suite struct IPv4AddressTests {
    /// Dotted decimal as RFC 6943 §3.1.1 calls it strict: four numbers, no other notation.
    @Test(
        "RFC 6943 §3.1.1: strict dotted decimal",
        arguments: [
            ("0.0.0.0", 0), ("255.255.255.255", 0xFFFF_FFFF), ("192.0.2.1", 0xC000_0201),
            ("10.77.0.2", 0x0A4D_0002), ("1.2.3.4", 0x0102_0304), ("0.0.0.1", 1),
        ] as [(String, UInt32)])
    func readsAndPrints(text: String, address: UInt32) {
        #expect(IPv4Address.parse(text) == address)
        #expect(IPv4Address.format(address) == text)
        #expect(IPv4Address.parse(Substring(text)) == address)
    }

    @Test(
        "RFC 6943 §3.1.1: loose notations are refused",
        arguments: [
            "", ".", "...", "1.2.3", "1.2.3.4.5", "1.2.3.4.", ".1.2.3.4", "1..2.3", "256.0.0.1",
            "1.2.3.256", "01.2.3.4", "1.2.3.04", "00.0.0.0", "+1.2.3.4", "-1.2.3.4", "0x1.2.3.4",
            " 1.2.3.4", "1.2.3.4 ", "1.2.3.4\n", "1. 2.3.4", "a.b.c.d", "1.2.3.4/8", "16909060",
            "1,2,3,4", "١.2.3.4", "999999999999999999999.0.0.0", "1.2.3.4\0",
        ])
    func refuses(text: String) {
        #expect(IPv4Address.parse(text) == nil)
    }

    @Test func everyOctetInEveryPlace() {
        for shift: UInt32 in [0, 8, 16, 24] {
            let bad = failures(octets) { octet in
                let address = UInt32(octet) << shift | 0x0101_0101 & ~(255 << shift)
                return IPv4Address.parse(IPv4Address.format(address)) == address
            }
            #expect(bad.isEmpty, "shift \(shift)")
        }
    }
}

/// AWS prints endpoint ids as `vpce-` and 17 lower-case hex digits.
@Suite struct EndpointIDTests {
    @Test(
        arguments: [
            (0, "vpce-00000000000000000"),
            (1, "vpce-00000000000000001"),
            (0x2356_de92_d389_839c, "vpce-02356de92d389839c"),
            (0x0123_4567_89ab_cdef, "vpce-00123456789abcdef"),
            (.max, "vpce-0ffffffffffffffff"),
        ] as [(UInt64, String)])
    func readsAndPrints(id: UInt64, text: String) {
        #expect(EndpointID.format(id) == text)
        #expect(EndpointID.parse(text) == id)
        #expect(EndpointID.parse(Substring(text)) == id)
    }

    @Test(
        arguments: [
            ("vpce-1", 1), ("vpce-ABC", 0xABC), ("vpce-0abcDEF", 0xABCDEF),
            ("vpce-0FFFFFFFFFFFFFFFF", .max), ("vpce-ffffffffffffffff", .max),
        ] as [(String, UInt64)])
    func readsShortAndUpperCaseDigits(text: String, id: UInt64) {
        #expect(EndpointID.parse(text) == id)
    }

    @Test(arguments: [
        "", "vpce", "vpce-", "vpce-g", "vpce-000000000000000001", "vpce-10000000000000000",
        "vpce-fffffffffffffffff", "vpce--1", "vpce-+1", "vpce- 1", "vpce-1 ", "vpce-0x1",
        "VPCE-1", "Vpce-1", "vpc-1", "eni-1", "1", " vpce-1", "vpce-１", "vpce-١", "vpce_1",
        "vpce-\u{301}1", "vpce-1\u{301}",
    ])
    func refuses(text: String) {
        #expect(EndpointID.parse(text) == nil)
    }

    @Test func everyRandomIDComesBack() {
        var random = SeededGenerator(seed: 17)
        let ids = (0..<2000).map { random.next() >> UInt64($0 % 64) }
        let bad = failures(ids) { EndpointID.parse(EndpointID.format($0)) == $0 }
        #expect(bad.isEmpty)
    }
}
