import CSluice
import SluiceTesting
import Testing

/// The search kernels against a search that is plainly right, at every alignment of needle and end.
@Suite("Search")
struct SearchTests {
    /// Few different bytes, so that near misses abound.
    static func bytes(_ count: Int, _ random: inout SeededGenerator) -> [UInt8] {
        (0..<count).map { _ in UInt8.random(in: 0...2, using: &random) }
    }

    static func plainFind(_ hay: [UInt8], _ needle: [UInt8]) -> Int {
        guard !needle.isEmpty, hay.count >= needle.count else { return -1 }
        let starts = 0...(hay.count - needle.count)
        return starts.first { hay[$0..<($0 + needle.count)].elementsEqual(needle) } ?? -1
    }

    @Test func `one needle is found where it first stands`() {
        var random = SeededGenerator(seed: 1)
        for _ in 0..<20_000 {
            let hay = Self.bytes(.random(in: 0...130, using: &random), &random)
            let needle = Self.bytes(.random(in: 0...40, using: &random) / 4, &random)
            let found = sluice_find(hay, hay.count, needle, needle.count)
            #expect(found == Self.plainFind(hay, needle), "\(hay) \(needle)")
        }
    }

    @Test func `of two needles the first in the hay is found`() {
        var random = SeededGenerator(seed: 2)
        for _ in 0..<20_000 {
            let hay = Self.bytes(.random(in: 0...130, using: &random), &random)
            let a = Self.bytes(.random(in: 1...40, using: &random) / 4, &random)
            let b = Self.bytes(.random(in: 1...40, using: &random) / 4, &random)
            let found = sluice_find_either(hay, hay.count, a, a.count, b, b.count)
            let (atA, atB) = (Self.plainFind(hay, a), Self.plainFind(hay, b))
            let isA = atA >= 0 && (atB < 0 || atA <= atB)
            #expect(found.at == (isA ? atA : atB), "\(hay) \(a) \(b)")
            if found.at >= 0 { #expect((found.which == 0) == isA) }
        }
    }

    @Test func `a long sum is the sum of its words`() {
        var random = SeededGenerator(seed: 3)
        for count in stride(from: 0, to: 600, by: 4) {
            let bytes = (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
            let words = stride(from: 0, to: count, by: 4).map { at in
                UInt64(bytes[at]) | UInt64(bytes[at + 1]) << 8 | UInt64(bytes[at + 2]) << 16
                    | UInt64(bytes[at + 3]) << 24
            }
            #expect(sluice_sum(bytes, count) == words.reduce(0, +))
        }
    }
}
