import Verification

/// How long sent packets are remembered.
public struct WindowSettings: Sendable, BitwiseCopyable {
    /// A packet that takes longer to come back is late, nanoseconds.
    public var lateness: UInt64 = 3_000_000_000
    /// Packets stay in the window at least this long while there is room, nanoseconds: what comes
    /// back within it is told apart as duplicate, reordered or late.
    public var memory: UInt64 = 12_000_000_000
    /// The most packets of one direction that are remembered; a power of two.
    public var capacity = 16384

    public init() {}
}

/// The packets of one direction of one inner flow, in the order they were sent: those that are
/// still out, and recent ones that are back.
///
/// A row of entries in a ring that grows up to its capacity. `cursor` stands behind the last
/// packet that came back in order: what lies before it and is still out was lost, dropped or
/// overtaken. In order, a return costs one comparison.
public struct ReturnWindow: Sendable {
    struct Entry: BitwiseCopyable {
        var fingerprint: Fingerprint
        var sentAt: UInt64
        var isBack = false
        var expectsDrop: Bool
        var mark: Bool
    }

    /// What a returned packet turned out to be.
    public enum Verdict: Equatable, Sendable, BitwiseCopyable {
        /// As expected.
        case fine
        case violation(Violation)
        /// None that is remembered, but some that were still out had to be forgotten.
        case unknown
    }

    public struct Match: Equatable, Sendable, BitwiseCopyable {
        public var verdict: Verdict
        /// The mark of the sent packet, once it is back for the first time.
        public var mark = false
    }

    private var ring: [Entry] = []
    private var first = 0
    private var cursor = 0
    private var next = 0
    /// Up to this time what had to be forgotten may still come back.
    private var forgottenUntil: UInt64 = 0

    public init() {}

    /// Packets remembered.
    public var count: Int { next - first }

    /// Notes a packet that is sent now.
    /// - Parameters:
    ///   - fingerprint: of the inner packet that should come back; of the sent one when none
    ///     should.
    ///   - mark: the caller's own; comes back with the match.
    public mutating func sent(
        _ fingerprint: Fingerprint, expectsDrop: Bool = false, mark: Bool = false, at now: UInt64,
        _ settings: WindowSettings
    ) {
        if count == ring.count { makeRoom(at: now, settings) }
        ring[next & (ring.count - 1)] = Entry(
            fingerprint: fingerprint, sentAt: now, expectsDrop: expectsDrop, mark: mark)
        next += 1
    }

    private mutating func makeRoom(at now: UInt64, _ settings: WindowSettings) {
        if count > 0 {
            let oldest = ring[first & (ring.count - 1)]
            let isOld = now &- oldest.sentAt > settings.memory
            if isOld || ring.count >= settings.capacity {
                if !isOld, !oldest.isBack, !oldest.expectsDrop {
                    forgottenUntil = max(forgottenUntil, oldest.sentAt &+ settings.memory)
                }
                first += 1
                cursor = max(cursor, first)
                return
            }
        }
        // Grow: the entries keep their order, counted from zero.
        let kept = (first..<next).map { ring[$0 & (ring.count - 1)] }
        let filler = Entry(
            fingerprint: Fingerprint(body: 0, checksums: 0), sentAt: 0, expectsDrop: false,
            mark: false)
        let size = max(8, ring.count * 2)
        ring = kept + [Entry](repeating: filler, count: size - kept.count)
        cursor -= first
        next -= first
        first = 0
    }

    /// Judges a packet that came back now.
    public mutating func returned(
        _ fingerprint: Fingerprint, at now: UInt64, _ settings: WindowSettings
    ) -> Match {
        guard count > 0 else { return Match(verdict: miss(at: now)) }
        let mask = ring.count - 1
        var isDuplicate = false
        var wrongChecksum = -1
        // Forward from the cursor, then what was passed over.
        for (from, to) in [(cursor, next), (first, cursor)] {
            for i in from..<to where ring[i & mask].fingerprint.body == fingerprint.body {
                if ring[i & mask].fingerprint.checksums != fingerprint.checksums {
                    if wrongChecksum < 0, !ring[i & mask].isBack { wrongChecksum = i }
                } else if ring[i & mask].isBack {
                    isDuplicate = true
                } else {
                    return take(i, at: now, settings)
                }
            }
        }
        if isDuplicate { return Match(verdict: .violation(.duplicate)) }
        guard wrongChecksum >= 0 else { return Match(verdict: miss(at: now)) }
        var match = take(wrongChecksum, at: now, settings)
        if match.verdict != .violation(.missingDrop) {
            match.verdict = .violation(.innerChecksum)
        }
        return match
    }

    private mutating func take(
        _ i: Int, at now: UInt64, _ settings: WindowSettings
    ) -> Match {
        let at = i & (ring.count - 1)
        ring[at].isBack = true
        let isOvertaken = i < cursor
        cursor = max(cursor, i + 1)
        var match = Match(verdict: .fine, mark: ring[at].mark)
        if ring[at].expectsDrop {
            match.verdict = .violation(.missingDrop)
        } else if now &- ring[at].sentAt > settings.lateness {
            match.verdict = .violation(.late)
        } else if isOvertaken {
            match.verdict = .violation(.reordered)
        }
        return match
    }

    private func miss(at now: UInt64) -> Verdict {
        now < forgottenUntil ? .unknown : .violation(.payload)
    }
}
