/// Whether a worker without packets looks again or sleeps. Waking up costs many microseconds, so it
/// looks on for a while, but only as long as packets come closer together than that: an idle
/// worker sleeps at once.
public struct IdleSpin {
    /// A few times what a wake-up costs, nanoseconds.
    @inlinable public static var worthwhile: UInt64 { 50_000 }

    @usableFromInline let patience: UInt64
    @usableFromInline var lastBurst: UInt64 = 0
    @usableFromInline var isBusy = false

    @inlinable
    public init(patience: UInt64) { self.patience = patience }

    @inlinable
    public mutating func noteBurst(at now: UInt64) {
        isBusy = now &- lastBurst < patience
        lastBurst = now
    }

    @inlinable
    public func keepsLooking(at now: UInt64) -> Bool { isBusy && now &- lastBurst < patience }
}
