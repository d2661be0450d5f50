/// Numbers as ranges.
enum IntervalSet {
    static func wide(_ ranges: [ClosedRange<UInt16>]) -> [ClosedRange<UInt128>] {
        ranges.map { UInt128($0.lowerBound)...UInt128($0.upperBound) }
    }

    /// What is left of `ranges`, nil being 0...last, without the holes.
    static func subtract(
        _ holes: [ClosedRange<UInt128>], from ranges: [ClosedRange<UInt128>]?, last: UInt128
    ) -> [ClosedRange<UInt128>] {
        let holes = merged(holes)
        var result: [ClosedRange<UInt128>] = []
        var next = 0
        for range in merged(ranges ?? [0...last]) {
            while next < holes.count, holes[next].upperBound < range.lowerBound { next += 1 }
            var low = range.lowerBound
            var isLeft = true
            for hole in holes[next...] where isLeft {
                guard hole.lowerBound <= range.upperBound else { break }
                if hole.lowerBound > low { result.append(low...hole.lowerBound - 1) }
                isLeft = hole.upperBound < range.upperBound
                if isLeft { low = hole.upperBound + 1 }
            }
            if isLeft { result.append(low...range.upperBound) }
        }
        return result
    }

    /// In order, overlapping and neighbouring ones as one.
    static func merged(_ ranges: [ClosedRange<UInt128>]) -> [ClosedRange<UInt128>] {
        var result: [ClosedRange<UInt128>] = []
        result.reserveCapacity(ranges.count)
        // Long lists come from files, most of which are in order.
        let isInOrder = zip(ranges, ranges.dropFirst()).allSatisfy {
            $0.lowerBound <= $1.lowerBound
        }
        for range in isInOrder ? ranges : ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
            if let end = result.last?.upperBound, end == .max || range.lowerBound <= end + 1 {
                let start = result.removeLast().lowerBound
                result.append(start...max(end, range.upperBound))
            } else {
                result.append(range)
            }
        }
        return result
    }
}
