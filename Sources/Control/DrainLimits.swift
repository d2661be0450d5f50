/// How long a drain takes, nanoseconds.
public struct DrainLimits: Equatable, Sendable {
    /// The shortest drain: GWLB needs the interval of its health checks × their threshold, and
    /// more, to notice.
    public var minimum: UInt64 = 30_000_000_000
    /// After the minimum, this time without a packet ends the drain.
    public var idle: UInt64 = 5_000_000_000
    /// The drain ends at the latest after this.
    public var timeout: UInt64 = 350_000_000_000

    public init() {}
}
