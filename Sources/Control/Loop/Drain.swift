/// A drain in progress: health already says no, packets still flow.
public struct Drain: Sendable {
    private let limits: DrainLimits
    private let start: UInt64
    private var packets: UInt64
    private var lastPacket: UInt64

    /// - Parameters:
    ///   - now: monotonic nanoseconds.
    ///   - packets: packets received since the start, over all workers.
    public init(limits: DrainLimits, now: UInt64, packets: UInt64) {
        self.limits = limits
        self.packets = packets
        start = now
        lastPacket = now
    }

    /// True when it is time to go.
    public mutating func isOver(now: UInt64, packets: UInt64) -> Bool {
        if packets != self.packets {
            self.packets = packets
            lastPacket = now
        }
        let age = now - start
        return age >= limits.timeout
            || (age >= limits.minimum && now - lastPacket >= limits.idle)
    }
}
