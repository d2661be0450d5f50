import SluiceTesting
import Testing
import Wire

@Suite struct PacketViewTests {
    private let bytes = hex("00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f")

    /// RFC 791 appendix B: the most significant byte goes first, at any alignment.
    @Test("RFC 791 appendix B: loads are in network byte order at every offset")
    func loads() {
        let wide = read(bytes) { view in
            (
                (0..<16).map { view.u8($0) }, (0...14).map { view.u16($0) },
                (0...12).map { view.u32($0) }, (0...8).map { view.u64($0) }
            )
        }
        #expect(wide.0 == bytes)
        #expect(wide.1 == (0...14).map { bigEndianValue(bytes[$0..<$0 + 2]) })
        #expect(wide.2 == (0...12).map { bigEndianValue(bytes[$0..<$0 + 4]) })
        #expect(wide.3 == (0...8).map { bigEndianValue(bytes[$0..<$0 + 8]) })
    }

    @Test("RFC 791 appendix B: stores are in network byte order and touch nothing beside")
    func stores() {
        for offset in 0...8 {
            let value: UInt64 = 0x8182_8384_8586_8788
            #expect(
                written(16) { $0.set8(offset, UInt8(truncatingIfNeeded: value)) }
                    == patched(offset, [0x88]))
            #expect(
                written(16) { $0.set16(offset, UInt16(truncatingIfNeeded: value)) }
                    == patched(offset, [0x87, 0x88]))
            #expect(
                written(16) { $0.set32(offset, UInt32(truncatingIfNeeded: value)) }
                    == patched(offset, bigEndian(0x8586_8788 as UInt32)))
            #expect(written(16) { $0.set64(offset, value) } == patched(offset, bigEndian(value)))
        }
    }

    @Test func everySixteenBitValueComesBack() {
        let bad = read([0, 0, 0]) { view in
            failures(words) {
                view.set16(1, $0)
                return view.u16(1) == $0
            }
        }
        #expect(bad.isEmpty)
    }

    @Test func countIsWhatTheMakerSaid() {
        for count in [0, 1, 20, 9216] {
            #expect(read([UInt8](repeating: 7, count: count)) { $0.count } == count)
        }
    }

    @Test func pointerIsTheByteAtTheOffset() {
        let seen = read(bytes) { view in
            (0..<16).map { unsafe view.pointer($0).load(as: UInt8.self) }
        }
        #expect(seen == bytes)
    }

    @Test func arrayKeepsItsLengthAndGetsTheWrites() {
        var array: [UInt8] = [1, 2]
        withPacketView(&array) { $0.set8(1, 9) }
        #expect(array == [1, 9])
    }

    @Test func errorsOfTheBodyPassThrough() {
        struct Refusal: Error, Equatable {}
        var array: [UInt8] = [1, 2]
        func refuse(_ view: PacketView) throws(Refusal) { throw Refusal() }
        #expect(throws: Refusal()) { try withPacketView(&array, refuse) }
        #expect(array == [1, 2])
    }

    private func patched(_ offset: Int, _ patch: [UInt8]) -> [UInt8] {
        var result = [UInt8](repeating: 0, count: 16)
        result.replaceSubrange(offset..<offset + patch.count, with: patch)
        return result
    }

    private func bigEndianValue<T: FixedWidthInteger>(_ bytes: ArraySlice<UInt8>) -> T {
        bytes.reduce(0) { $0 << 8 | T($1) }
    }
}
