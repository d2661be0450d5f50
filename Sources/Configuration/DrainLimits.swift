/// How long a drain takes.
public struct DrainLimits: Equatable, Sendable {
    /// The shortest drain: GWLB needs the interval of its health checks × their threshold, and
    /// more, to notice.
    public var minimum = Duration.seconds(30)
    /// After the minimum, this time without a packet ends the drain.
    public var idle = Duration.seconds(5)
    /// The drain ends at the latest after this.
    public var timeout = Duration.seconds(350)

    public init() {}
}
