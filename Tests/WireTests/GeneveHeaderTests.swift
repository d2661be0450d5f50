import SluiceTesting
import Testing
import Wire

@Suite struct GeneveHeaderTests {
    /// The fixed part of a captured GWLB header (docs/gateway.md).
    private let captured = hex(
        "08",  // version 0, 8 words of options
        "00",  // O, C, reserved
        "0800",  // IPv4 inside
        "000000",  // VNI
        "00")  // reserved

    @Test("RFC 8926 §3.4: a captured GWLB header")
    func readsCaptured() throws {
        let header = try #require(read(captured) { GeneveHeader($0, at: 0) })
        #expect(header.version == 0)
        #expect(header.optionsLength == 32)
        #expect(header.length == 40)
        #expect(!header.isControl)
        #expect(!header.hasCriticalOptions)
        #expect(header.protocolType == GeneveHeader.protocolIPv4)
        #expect(header.vni == 0)
        #expect(written(8) { header.write(to: $0, at: 0) } == captured)
    }

    @Test("RFC 8926 §3.4: a golden header with every field in use")
    func readsGolden() throws {
        let golden = hex(
            "7f",  // version 1, 63 words of options
            "d5",  // O, C, reserved 0x15
            "86dd",  // IPv6 inside
            "abcdef",  // VNI
            "5a")  // reserved
        let header = try #require(read(golden) { GeneveHeader($0, at: 0) })
        #expect(header.version == 1)
        #expect(header.optionsLength == 252)
        #expect(header.length == 260)
        #expect(header.isControl)
        #expect(header.hasCriticalOptions)
        #expect(header.reserved1 == 0x15)
        #expect(header.protocolType == GeneveHeader.protocolIPv6)
        #expect(header.vni == 0xabcdef)
        #expect(header.reserved2 == 0x5a)
        #expect(written(8) { header.write(to: $0, at: 0) } == golden)
    }

    @Test("RFC 8926 §3.3, §3.4: the numbers")
    func numbers() {
        #expect(GeneveHeader.port == 6081)
        #expect(GeneveHeader.protocolIPv4 == 0x0800)
        #expect(GeneveHeader.protocolIPv6 == 0x86DD)
    }

    @Test("RFC 8926 §3.4: nil at every cut short of 8 bytes")
    func truncated() {
        #expect(needs(8, of: captured) { GeneveHeader($0, at: 0) })
        #expect(
            needs(36, of: [UInt8](repeating: 0xEE, count: 28) + captured) {
                GeneveHeader($0, at: 28)
            })
        #expect(read(captured) { GeneveHeader($0, at: -1) } == nil)
        #expect(read(captured) { GeneveHeader($0, at: 9) } == nil)
    }

    // ---- Every bit-field, exhaustively.

    @Test("RFC 8926 §3.4: version, Opt Len, O, C and reserved, all 65,536 first two octets")
    func firstTwoOctets() {
        let bad = read(captured) { view in
            failures(words) { value in
                view.set16(0, value)
                guard let header = GeneveHeader(view, at: 0) else { return false }
                let first = value / 256
                let second = value % 256
                return UInt16(header.version) == first / 64
                    && header.optionsLength == Int(first % 64) * 4
                    && header.length == 8 + header.optionsLength
                    && header.isControl == (second / 128 == 1)
                    && header.hasCriticalOptions == (second / 64 % 2 == 1)
                    && UInt16(header.reserved1) == second % 64
                    && written(8) { header.write(to: $0, at: 0) }[0..<2].elementsEqual(
                        bigEndian(value))
            }
        }
        #expect(bad.isEmpty)
    }

    @Test("RFC 8926 §3.4: protocol type, all 65,536 values")
    func protocolType() {
        #expect(misread(\.protocolType, at: 2, of: captured) { GeneveHeader($0, at: 0) }.isEmpty)
    }

    @Test("RFC 8926 §3.4: VNI (24 bits) and the reserved octet behind it")
    func vni() {
        #expect(misread(\.reserved2, at: 7, of: captured) { GeneveHeader($0, at: 0) }.isEmpty)
        // All values of the low and of the high 16 bits.
        for shift in [8, 16] as [UInt32] {
            let bad = read(captured) { view in
                failures(words) { value in
                    view.set32(4, UInt32(value) << shift)
                    guard let header = GeneveHeader(view, at: 0) else { return false }
                    return header.vni == UInt32(value) << (shift - 8) && header.reserved2 == 0
                }
            }
            #expect(bad.isEmpty)
        }
    }

    @Test("RFC 8926 §3.4: too wide values do not spill into their neighbours")
    func masks() {
        var header = GeneveHeader()
        header.optionsLength = 256
        header.reserved1 = 0xFF
        header.vni = 0xFF00_0001
        #expect(written(8) { header.write(to: $0, at: 0) } == hex("00 3f 0800 000001 00"))
    }

    @Test("RFC 8926 §3.4: what is read is written back, and nothing beside it")
    func roundTrips() {
        let changed = changedByRoundTrip(
            length: 8, seed: 8926, read: { GeneveHeader($0, at: 0) },
            write: { $0.write(to: $1, at: $2) })
        #expect(changed.isEmpty)
    }
}

@Suite struct GeneveOptionTests {
    private let golden = hex(
        "0108",  // class: AWS
        "01",  // type 1
        "02")  // reserved 0, 2 words of data

    @Test("RFC 8926 §3.5: a captured option")
    func readsGolden() throws {
        let option = try #require(read(golden) { GeneveOption($0, at: 0) })
        #expect(option.optionClass == AWSOptions.optionClass)
        #expect(option.type == 1)
        #expect(!option.isCritical)
        #expect(option.reserved == 0)
        #expect(option.dataLength == 8)
        #expect(written(4) { option.write(to: $0, at: 0) } == golden)
    }

    @Test("RFC 8926 §3.5: nil at every cut short of 4 bytes")
    func truncated() {
        #expect(needs(4, of: golden) { GeneveOption($0, at: 0) })
        #expect(needs(7, of: [1, 2, 3] + golden) { GeneveOption($0, at: 3) })
        #expect(read(golden) { GeneveOption($0, at: -1) } == nil)
        #expect(read(golden) { GeneveOption($0, at: 5) } == nil)
    }

    @Test("RFC 8926 §3.5, §3.5.1: critical bit, reserved bits and length, all 65,536 octet pairs")
    func typeAndLength() {
        let bad = read(golden) { view in
            failures(words) { value in
                view.set16(2, value)
                guard let option = GeneveOption(view, at: 0) else { return false }
                let length = value % 256
                return UInt16(option.type) == value / 256
                    && option.isCritical == (value >= 0x8000)
                    && UInt16(option.reserved) == length / 32
                    && option.dataLength == Int(length % 32) * 4
                    && written(4) { option.write(to: $0, at: 0) }[2..<4].elementsEqual(
                        bigEndian(value))
            }
        }
        #expect(bad.isEmpty)
    }

    @Test("RFC 8926 §3.5: option class, all 65,536 values")
    func optionClass() {
        #expect(misread(\.optionClass, at: 0, of: golden) { GeneveOption($0, at: 0) }.isEmpty)
    }

    @Test("RFC 8926 §3.5: what is read is written back, and nothing beside it")
    func roundTrips() {
        let changed = changedByRoundTrip(
            length: 4, seed: 35, read: { GeneveOption($0, at: 0) },
            write: { $0.write(to: $1, at: $2) })
        #expect(changed.isEmpty)
    }
}
