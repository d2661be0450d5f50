/// How long a drain takes, nanoseconds.
public struct DrainLimits: Equatable, Sendable {
    /// Packets flow at least so long: GWLB needs interval × threshold, and more, to notice.
    public var minimum: UInt64 = 30_000_000_000
    /// After the minimum, so long without a packet ends the drain.
    public var idle: UInt64 = 5_000_000_000
    /// The drain ends at the latest after this.
    public var timeout: UInt64 = 350_000_000_000

    public init() {}
}

/// A drain in progress: health already says no, packets still flow.
public struct Drain: Sendable {
    private let limits: DrainLimits
    private let start: UInt64
    private var packets: UInt64
    private var lastPacket: UInt64

    /// - Parameters:
    ///   - now: monotonic nanoseconds.
    ///   - packets: packets received so far, over all workers.
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
