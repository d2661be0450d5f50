/// What becomes of a packet.
public enum Verdict: Equatable, BitwiseCopyable, Sendable {
    /// Send it back to the load balancer.
    case forward
    /// Send nothing.
    case drop(DropReason)

    /// Send nothing, because a user's processor said so.
    @inlinable public static var drop: Verdict { .drop(.processor) }
}
