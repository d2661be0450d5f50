/// A count for every kind of violation.
public struct ViolationCounts: Equatable, Sendable {
    private var counts = [UInt64](repeating: 0, count: Violation.allCases.count)

    public init() {}

    public subscript(kind: Violation) -> UInt64 { counts[kind.index] }

    public mutating func add(_ kind: Violation) { counts[kind.index] += 1 }

    public var total: UInt64 { counts.reduce(0, +) }

    /// The kinds that occurred, in the order of their declaration.
    public var nonzero: [(kind: Violation, count: UInt64)] {
        Violation.allCases.map { ($0, self[$0]) }.filter { $0.1 > 0 }
    }
}
