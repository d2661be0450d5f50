/// Makes rows, equal ones once.
struct RowPool {
    /// The rule of each bit.
    let order: [Int]
    let summaryCount: Int
    private let wordCount: Int
    /// Rows have blocks of 64 words elsewhere.
    private var isWide: Bool { summaryCount > 1 }
    private let limit: Int
    /// All rows and blocks.
    private(set) var words: [UInt64] = []
    private var known: [[UInt64]: UInt32] = [:]
    private var blocks: [[UInt64]: UInt64] = [:]
    /// There was no room for some row: the tables must not be used.
    private(set) var isOverfull = false

    /// - Parameter kinds: by rule; rules of one kind get neighbouring bits.
    init(kinds: [Int], limit: Int) {
        order = kinds.indices.sorted { (kinds[$0], $0) < (kinds[$1], $1) }
        wordCount = (kinds.count + 63) / 64
        summaryCount = (wordCount + 63) / 64
        self.limit = limit
    }

    /// The row of the bits for which `isIn` holds.
    mutating func row(_ isIn: (Int) -> Bool) -> UInt32 {
        var bits = [UInt64](repeating: 0, count: isWide ? summaryCount * 64 : wordCount)
        for bit in order.indices where isIn(bit) { bits[bit >> 6] |= 1 << UInt64(bit & 63) }
        guard isWide else { return add(RowPool.summary(bits[...]) + bits) }
        let parts = (0..<summaryCount).map { bits[$0 * 64..<$0 * 64 + 64] }
        return add(parts.flatMap { RowPool.summary($0) } + parts.map { block($0) })
    }

    /// Another row with these bits set too.
    mutating func row(_ row: UInt32, with bits: [Int]) -> UInt32 {
        changed(row, bits) { $0 | $1 }
    }

    /// Another row without these bits.
    mutating func row(_ row: UInt32, without bits: [Int]) -> UInt32 {
        changed(row, bits) { $0 & ~$1 }
    }

    /// Another row with a bit turned.
    private mutating func row(_ row: UInt32, turning bit: Int) -> UInt32 {
        changed(row, [bit]) { $0 ^ $1 }
    }

    private mutating func changed(
        _ row: UInt32, _ bits: [Int], _ change: (UInt64, UInt64) -> UInt64
    ) -> UInt32 {
        guard !isOverfull else { return row }
        let start = Int(row)
        var new = Array(words[start..<start + summaryCount + (isWide ? summaryCount : wordCount)])
        guard isWide else {
            for bit in bits {
                new[1 + (bit >> 6)] = change(new[1 + (bit >> 6)], 1 << UInt64(bit & 63))
            }
            new[0] = RowPool.summary(new[1...]).first ?? 0
            return add(new)
        }
        for (group, bits) in Dictionary(grouping: bits, by: { $0 >> 12 }) {
            let old = Int(new[summaryCount + group])
            var part = Array(words[old..<old + 64])
            for bit in bits {
                let word = bit >> 6 & 63
                part[word] = change(part[word], 1 << UInt64(bit & 63))
            }
            new[group] = RowPool.summary(part[...])[0]
            new[summaryCount + group] = block(part[...])
        }
        return add(new)
    }

    private mutating func add(_ row: [UInt64]) -> UInt32 {
        if let row = known[row] { return row }
        let start = UInt32(truncatingIfNeeded: append(row))
        known[row] = start
        return start
    }

    /// Where a block of 64 words stands.
    private mutating func block(_ part: ArraySlice<UInt64>) -> UInt64 {
        let part = Array(part)
        if let known = blocks[part] { return known }
        let start = UInt64(append(part))
        blocks[part] = start
        return start
    }

    private mutating func append(_ new: [UInt64]) -> Int {
        guard words.count + new.count <= limit else {
            isOverfull = true
            return 0
        }
        words += new
        return words.count - new.count
    }

    /// A bit for each word that is not zero.
    private static func summary(_ words: ArraySlice<UInt64>) -> [UInt64] {
        var summary: UInt64 = 0
        for (i, word) in words.enumerated() where word != 0 { summary |= 1 << UInt64(i) }
        return [summary]
    }

    /// Cuts 0...last into intervals, each with the row of the bits that have it in their ranges,
    /// or that have none.
    mutating func intervals(
        _ ranges: [[ClosedRange<UInt128>]?], last: UInt128
    ) -> [(start: UInt128, row: UInt32)] {
        struct Change {
            var at: UInt128
            var bit: Int
        }
        var changes: [Change] = []
        for (bit, list) in ranges.enumerated() {
            // Merged, a bit turns on and off in turn.
            for range in IntervalSet.merged(list ?? []) {
                changes.append(Change(at: range.lowerBound, bit: bit))
                if range.upperBound < last {
                    changes.append(Change(at: range.upperBound + 1, bit: bit))
                }
            }
        }
        // One rule's are in order.
        if ranges.lazy.filter({ $0 != nil }).count > 1 { changes.sort { $0.at < $1.at } }
        var result = [(start: UInt128(0), row: row { ranges[$0] == nil })]
        // Where turns led to lately, so that a long list of prefixes needs no look at whole rows.
        var turns = [Turn](repeating: Turn(), count: changes.isEmpty ? 0 : 1 << 12)
        for change in changes where !isOverfull {
            let row = result[result.count - 1].row
            let slot = (Int(row) &* 31 &+ change.bit) & (turns.count - 1)
            if turns[slot].row != row || turns[slot].bit != change.bit {
                let next = self.row(row, turning: change.bit)
                turns[slot] = Turn(row: row, bit: change.bit, next: next)
            }
            if change.at == result[result.count - 1].start {
                result[result.count - 1].row = turns[slot].next
            } else {
                result.append((change.at, turns[slot].next))
            }
        }
        return result
    }

    private struct Turn {
        var row: UInt32 = 0
        var bit = -1
        var next: UInt32 = 0
    }
}
