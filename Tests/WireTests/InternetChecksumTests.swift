import SluiceTesting
import Testing
import Wire

/// Sums of bytes. "Plain" below is `internetChecksum` of SluiceTesting: 16 bits at a time.
@Suite struct InternetChecksumTests {
    /// RFC 1071 §3: eight bytes whose sum is 0xddf2.
    private let example = hex("0001 f203 f4f5 f6f7")

    private func sum(_ bytes: [UInt8], at offset: Int = 0, count: Int? = nil) -> InternetChecksum {
        read(bytes) { view in
            var sum = InternetChecksum()
            sum.add(view, at: offset, count: count ?? view.count - offset)
            return sum
        }
    }

    @Test("RFC 1071 §3: the numerical example")
    func numericalExample() {
        #expect(UInt16(bigEndian: sum(example).folded) == 0xddf2)
        #expect(sum(example).checksum == ~0xddf2)
        #expect(internetChecksum(example) == ~0xddf2)
    }

    @Test("RFC 1071 §2(B): the sum of byte-swapped words is the byte-swapped sum")
    func byteSwapped() {
        let swapped = hex("0100 03f2 f5f4 f7f6")
        #expect(sum(swapped).checksum == sum(example).checksum.byteSwapped)
    }

    @Test("RFC 1071 §4.1: an odd last byte is padded with zero on the right")
    func oddLength() {
        #expect(sum(hex("0001 f2")).checksum == sum(hex("0001 f200")).checksum)
        #expect(sum(hex("ab")).checksum == ~0xab00)
        #expect(sum([]).checksum == 0xFFFF)
    }

    @Test("RFC 1071 §1: every length from 0 to 600, against the plain sum")
    func everyLength() {
        var random = SeededGenerator(seed: 1071)
        let bytes = random.bytes(600)
        let bad = failures(0...600) {
            sum(bytes, count: $0).checksum == internetChecksum(Array(bytes.prefix($0)))
        }
        #expect(bad.isEmpty)
    }

    @Test("RFC 1071 §1: many random buffers, against the plain sum")
    func randomBuffers() {
        var random = SeededGenerator(seed: 2)
        let buffers = (0..<3000).map { _ in random.bytes(Int(random.next() % 400)) }
        #expect(failures(buffers) { sum($0).checksum == internetChecksum($0) }.isEmpty)
        let packets = [1499, 1500, 8500, 9216, 65_535].map { random.bytes($0) }
        #expect(failures(packets) { sum($0).checksum == internetChecksum($0) }.isEmpty)
    }

    @Test("RFC 1071 §2(C): the largest sums do not overflow", arguments: [65_535, 65_534, 65_532])
    func largest(count: Int) {
        let ones = [UInt8](repeating: 0xFF, count: count)
        #expect(sum(ones).checksum == internetChecksum(ones))
        var total = InternetChecksum()
        for _ in 0..<1000 { total.add(sum(ones)) }
        let once = UInt64(UInt16(bigEndian: sum(ones).folded))
        #expect(UInt64(UInt16(bigEndian: total.folded)) % 0xFFFF == once * 1000 % 0xFFFF)
    }

    @Test("RFC 1071 §2(C): carries put off to the end may carry again, up to three times")
    func carriesOfCarries() {
        var sum = InternetChecksum()
        for _ in 0..<0x2_0000 { sum.add(0xFFFF_FFFF as UInt32) }
        // In ones' complement all that was 0; one more is 1.
        sum.add((0x0001_0000 as UInt32).bigEndian)
        #expect(sum.folded == 1)
    }

    @Test("RFC 1071 §2(C): the alignment of the first byte in memory does not matter")
    func alignment() {
        var random = SeededGenerator(seed: 3)
        let bytes = random.bytes(257)
        for lead in 0...8 {
            let shifted = [UInt8](repeating: 0xFF, count: lead) + bytes
            #expect(sum(shifted, at: lead).checksum == internetChecksum(bytes))
        }
    }

    @Test("RFC 1071 §2(A): bytes summed in parts, cut anywhere, odd parts swapped")
    func parts() {
        var random = SeededGenerator(seed: 4)
        let bytes = random.bytes(41)
        let whole = internetChecksum(bytes)
        let cuts = (0...41).flatMap { first in (first...41).map { (first, $0) } }
        let bad = read(bytes) { view in
            failures(cuts) { first, second in
                var sum = InternetChecksum()
                for (start, end) in [(0, first), (first, second), (second, 41)] {
                    if start % 2 == 0 {
                        sum.add(view, at: start, count: end - start)
                    } else {
                        sum.addAtOdd(view, at: start, count: end - start)
                    }
                }
                return sum.checksum == whole
            }
        }
        #expect(bad.isEmpty)
    }

    @Test("RFC 1071 §1: fields in host order count as their bytes would")
    func fields() {
        let bad16 = failures(words) { value in
            var sum = InternetChecksum()
            sum.add(value)
            return sum.checksum == ~value
        }
        #expect(bad16.isEmpty)
        var random = SeededGenerator(seed: 5)
        let values =
            [0, 1, 0xFFFF, 0x1_0000, 0xFFFF_0000, .max]
            + (0..<1000).map { _ in
                UInt32(truncatingIfNeeded: random.next())
            }
        let bad32 = failures(values) { value in
            var sum = InternetChecksum()
            sum.add(value)
            return sum.checksum == internetChecksum(bigEndian(value))
        }
        #expect(bad32.isEmpty)
    }

    @Test("RFC 1071 §1: of all checksum fields, only the right one verifies")
    func verifies() {
        var bytes = example + [0, 0]
        let right = read(bytes) { view in
            words.filter {
                view.set16(8, $0)
                var sum = InternetChecksum()
                sum.add(view, at: 0, count: 10)
                return sum.verifies
            }
        }
        #expect(right == [~0xddf2])
        // RFC 1071 §3 works with -0 too: where 0 is right, so is 0xFFFF.
        bytes = hex("ffff 0000 0000")
        #expect(sum(bytes).verifies)
        bytes = hex("ffff 0000 ffff")
        #expect(sum(bytes).verifies)
        #expect(!sum([0, 0, 0, 0]).verifies)
    }
}

/// RFC 1624: changing a checksum by what changed.
@Suite struct ChecksumUpdateTests {
    private func sum(_ fields: [UInt16]) -> InternetChecksum {
        var sum = InternetChecksum()
        for field in fields { sum.add(field) }
        return sum
    }

    private func update(_ checksum: UInt16, _ old: UInt16, _ new: UInt16) -> UInt16 {
        InternetChecksum.update(checksum, removing: sum([old]), adding: sum([new]))
    }

    private func updateUDP(_ checksum: UInt16, _ old: UInt16, _ new: UInt16) -> UInt16 {
        InternetChecksum.updateUDP(checksum, removing: sum([old]), adding: sum([new]))
    }

    @Test("RFC 1624 §4: the example, where equation 2 gives 0xFFFF and equation 3 gives 0")
    func example() {
        #expect(update(0xdd2f, 0x5555, 0x3285) == 0x0000)
    }

    @Test("RFC 1624 §3: a changed field, all 65,536 new values, as if computed anew")
    func everyNewValue() {
        let rest: UInt16 = 0xA1B2
        for old: UInt16 in [0, 1, 0x7FFF, 0x8000, 0xFFFE, 0xFFFF, 0x1234] {
            let checksum = sum([rest, old]).checksum
            let bad = failures(words) { update(checksum, old, $0) == sum([rest, $0]).checksum }
            #expect(bad.isEmpty, "from \(old)")
        }
    }

    @Test("RFC 1624 §5: around +0 and -0, as if computed anew")
    func zeros() {
        let corners: [UInt16] = [0, 1, 2, 0x7FFF, 0x8000, 0x8001, 0xFFFD, 0xFFFE, 0xFFFF]
        for rest in corners {
            for old in corners {
                for new in corners where rest != 0 || new != 0 {
                    let updated = update(sum([rest, old]).checksum, old, new)
                    #expect(
                        updated == sum([rest, new]).checksum, "\(rest): \(old) became \(new)")
                }
            }
        }
        // Only the sum of nothing but zeros is +0. No packet has it, since an IP header and a
        // pseudo-header are never all zero; the update then gives the other zero.
        #expect(sum([0, 0]).checksum == 0xFFFF)
        #expect(update(sum([0, 5]).checksum, 5, 0) == 0)
    }

    @Test("RFC 1624 §3: nothing changed, nothing changes; 0xFFFF becomes the zero of §5")
    func nothingChanged() {
        let bad = failures(words) { update($0, 0x1234, 0x1234) == ($0 == 0xFFFF ? 0 : $0) }
        #expect(bad.isEmpty)
    }

    @Test("RFC 1624 §3: random payloads of other content and length, as if computed anew")
    func payloads() {
        var random = SeededGenerator(seed: 1624)
        for _ in 0..<2000 {
            let header = random.bytes(20)
            let old = random.bytes(Int(random.next() % 60))
            let new = random.bytes(Int(random.next() % 60))
            let updated = InternetChecksum.update(
                internetChecksum(header + old), removing: sum(of: old), adding: sum(of: new))
            let expected = internetChecksum(header + new)
            if updated != expected { #expect(updated == expected, "\(header) \(old) \(new)") }
        }
    }

    @Test("RFC 1624 §3: a wrong checksum stays wrong by the same difference")
    func wrongStaysWrong() {
        let rest: UInt16 = 0xC0DE
        let (old, new): (UInt16, UInt16) = (0x1111, 0xEEE0)
        let rightBefore = sum([rest, old]).checksum
        let rightAfter = sum([rest, new]).checksum
        let bad = failures(words) { given in
            let before = difference(given, rightBefore)
            return difference(update(given, old, new), rightAfter) == before
                && difference(updateUDP(given, old, new), rightAfter)
                    == (given == 0 ? difference(0, rightAfter) : before)
        }
        #expect(bad.isEmpty)
    }

    @Test("RFC 768: no UDP checksum stays no checksum")
    func zeroUDPChecksumStays() {
        #expect(failures(words) { updateUDP(0, 0x1234, $0) == 0 }.isEmpty)
    }

    @Test("RFC 768, RFC 8200 §8.1: a computed UDP checksum of 0 is sent as 0xFFFF")
    func computedZeroIsSentAsOnes() {
        let rest: UInt16 = 0xA1B2
        let checksum = sum([rest, 7]).checksum
        #expect(update(checksum, 7, ~rest) == 0)
        #expect(updateUDP(checksum, 7, ~rest) == 0xFFFF)
        // And whatever changes, a checksum never turns into none.
        let bad = failures(words) { new in
            let expected = sum([rest, new]).checksum
            return updateUDP(checksum, 7, new) == (expected == 0 ? 0xFFFF : expected)
        }
        #expect(bad.isEmpty)
        // 0xFFFF on the wire is a 0 that was computed.
        #expect(updateUDP(0xFFFF, 7, 7) == 0xFFFF)
    }

    private func sum(of bytes: [UInt8]) -> InternetChecksum {
        read(bytes) { view in
            var sum = InternetChecksum()
            sum.add(view, at: 0, count: view.count)
            return sum
        }
    }

    /// In ones' complement, where 0 and 0xFFFF are the same number.
    private func difference(_ a: UInt16, _ b: UInt16) -> Int {
        (Int(a) - Int(b) + 2 * 0xFFFF) % 0xFFFF
    }
}
