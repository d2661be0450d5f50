import Configuration
import Support

/// A drain in progress: health already says no, packets still flow.
public struct Drain: Sendable {
    private let minimumNanoseconds: UInt64
    private let idleNanoseconds: UInt64
    private let timeoutNanoseconds: UInt64
    private let start: UInt64
    private var packets: UInt64
    private var lastPacket: UInt64

    /// - Parameters:
    ///   - now: monotonic nanoseconds.
    ///   - packets: packets received since the start, over all workers.
    public init(limits: DrainLimits, now: UInt64, packets: UInt64) {
        minimumNanoseconds = limits.minimum.nanoseconds
        idleNanoseconds = limits.idle.nanoseconds
        timeoutNanoseconds = limits.timeout.nanoseconds
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
        return age >= timeoutNanoseconds
            || (age >= minimumNanoseconds && now - lastPacket >= idleNanoseconds)
    }
}
