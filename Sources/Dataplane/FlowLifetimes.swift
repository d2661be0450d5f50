/// Idle time after which a flow is over, nanoseconds.
public struct FlowLifetimes: Equatable, BitwiseCopyable, Sendable {
    public var other: UInt64 = 120_000_000_000
    public var open: UInt64 = 350_000_000_000
    public var opening: UInt64 = 30_000_000_000
    public var halfClosed: UInt64 = 120_000_000_000
    public var closed: UInt64 = 10_000_000_000

    @inlinable public init() {}

    /// The same for every phase.
    @inlinable
    public init(all idle: UInt64) {
        (other, open, opening, halfClosed, closed) = (idle, idle, idle, idle, idle)
    }

    public subscript(phase: FlowPhase) -> UInt64 {
        [other, open, opening, halfClosed, closed][Int(phase.index)]
    }
}
