import Dataplane
import RuleEngine

/// Sets of bytes as the file writes them.
extension ByteSet {
    /// - Precondition: no number is above 255.
    init(ranges: [ClosedRange<UInt16>]) { self.init(ranges.joined().map { UInt8($0) }) }

    /// Neighbours as one.
    var ranges: [ClosedRange<UInt16>] {
        members.reduce(into: []) { ranges, member in
            let number = UInt16(member)
            if let last = ranges.last, last.upperBound + 1 == number {
                ranges[ranges.count - 1] = last.lowerBound...number
            } else {
                ranges.append(number...number)
            }
        }
    }
}
