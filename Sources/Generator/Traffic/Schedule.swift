/// How the offered rate runs over the duration.
public enum LoadProfile: Equatable, Sendable {
    case constant(OfferedRate)
    /// Evenly from one rate to the other.
    case ramp(OfferedRate, OfferedRate)
    /// One after the other, for equal times.
    case steps([OfferedRate])

    public var isFlatOut: Bool { self == .constant(.flatOut) }
}

/// When each packet is to be sent: fixed beforehand, whatever becomes of the packets before it.
///
/// A row of segments in which the rate runs evenly from one value to another. Times are
/// nanoseconds since the start; packet 0 is due at once.
struct Schedule: Sendable {
    private struct Segment: Sendable {
        /// Seconds and packets at its start.
        var start: Double
        var packets: Double
        /// Packets a second at its start, and how that changes by the second.
        var rate: Double
        var growth: Double
        var seconds: Double

        func packets(after t: Double) -> Double { packets + rate * t + growth / 2 * t * t }

        /// Seconds from the schedule's start until packet `n`.
        func time(of n: Double) -> Double {
            let ahead = n - packets
            if growth == 0 { return start + ahead / rate }
            // rate t + growth/2 t² = ahead, in the form that does not cancel.
            let root = max(rate * rate + 2 * growth * ahead, 0).squareRoot()
            return start + 2 * ahead / (rate + root)
        }
    }

    private var segments: [Segment] = []
    /// The one that the last asked packet was in.
    private var current = 0
    /// Packets of the whole schedule.
    let total: UInt64

    /// - Parameters:
    ///   - profile: not flat out: that has no schedule.
    ///   - packetBits: mean bits of an outer packet, for rates in bits.
    ///   - share: what part of the load this schedule is, 0 to 1.
    init(_ profile: LoadProfile, seconds: Double, packetBits: Double, share: Double = 1) {
        func perSecond(_ rate: OfferedRate) -> Double {
            switch rate {
            case .packetsPerSecond(let rate): rate * share
            case .bitsPerSecond(let bits): bits / packetBits * share
            case .flatOut: preconditionFailure("flat out has no schedule")
            }
        }
        var parts: [(from: Double, to: Double)]
        switch profile {
        case .constant(let rate): parts = [(perSecond(rate), perSecond(rate))]
        case .ramp(let from, let to): parts = [(perSecond(from), perSecond(to))]
        case .steps(let rates): parts = rates.map { (perSecond($0), perSecond($0)) }
        }
        let length = seconds / Double(parts.count)
        var packets = 0.0
        for (i, part) in parts.enumerated() {
            let segment = Segment(
                start: Double(i) * length, packets: packets, rate: part.from,
                growth: (part.to - part.from) / length, seconds: length)
            packets = segment.packets(after: length)
            segments.append(segment)
        }
        // What rounding left of the last packet is none.
        total = UInt64((packets - 1e-6).rounded(.up))
    }

    /// When packet `n` is due. - Precondition: asked for in ascending order.
    mutating func due(_ n: UInt64) -> UInt64 {
        let n = Double(n)
        while current + 1 < segments.count, n >= segments[current + 1].packets { current += 1 }
        return UInt64(segments[current].time(of: n) * 1e9)
    }
}
