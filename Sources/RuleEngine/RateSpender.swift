import Dataplane

/// One worker's side of all limits: the tokens that it took ahead for the burst at hand.
///
/// A worker takes one token, then more at a time the more packets a burst has for the bucket, and
/// gives back what is left when the burst is over. An empty bucket stays empty for the burst: its
/// time stands still.
@safe @usableFromInline struct RateSpender: ~Copyable {
    private struct Held: BitwiseCopyable {
        var limit: RateLimit
        var place: RateLimit.Place
        var used: UInt64 = 0
        var left: UInt64 = 0
        var isEmpty = false
    }

    /// Buckets for which a worker takes tokens ahead in one burst; of further ones it takes one by one.
    private static var capacity: Int { 64 }

    private let worker: Int
    private let held: UnsafeMutablePointer<Held>
    private var count = 0
    private var burst: UInt64 = 1

    init(worker: Int) {
        self.worker = worker
        unsafe held = .allocate(capacity: RateSpender.capacity)
    }

    deinit { unsafe held.deallocate() }

    /// Gives back what is left of the burst before.
    @inline(__always)
    mutating func startBurst() {
        if count > 0 { giveBack() }
    }

    @inline(never)
    private mutating func giveBack() {
        for i in 0..<count {
            // Sound: `count` entries are initialized.
            let held = unsafe self.held[i]
            if held.left > 0 { held.limit.giveBack(held.left, held.place, worker: worker) }
        }
        count = 0
        burst &+= 1
    }

    /// Counts a packet against the limit: true when it exceeds it.
    @inline(never)
    mutating func exceeds(
        _ limit: RateLimit, _ packet: borrowing Packet, _ flow: inout RuleFlow, _ now: UInt64
    ) -> Bool {
        if limit.per == .flow { return flow.exceeds(limit, now) }
        let key = RateLimit.Key(limit.per, packet)
        // Without a place to remember it, a packet passes no limit.
        guard let place = limit.place(key, worker: worker, burst: burst) else { return true }
        let note = limit.note(place, worker: worker)
        let index = Int(truncatingIfNeeded: note & 0xFF)
        if note &>> 8 == burst, index < count { return take(index, now) }
        guard count < RateSpender.capacity else {
            return limit.take(1, place, worker: worker, now: now) ?? 0 == 0
        }
        limit.setNote(burst &<< 8 | UInt64(truncatingIfNeeded: count), place, worker: worker)
        // Sound: count < capacity.
        unsafe (held + count).initialize(to: Held(limit: limit, place: place))
        count &+= 1
        return take(count &- 1, now)
    }

    private mutating func take(_ index: Int, _ now: UInt64) -> Bool {
        // Sound: index < count.
        let held = unsafe self.held + index
        if unsafe held.pointee.left == 0 {
            guard unsafe !held.pointee.isEmpty else { return true }
            let taken = unsafe held.pointee.limit.take(
                max(1, held.pointee.used / 4), held.pointee.place, worker: worker, now: now)
            unsafe held.pointee.isEmpty = taken == 0
            guard let taken, taken > 0 else { return true }
            unsafe held.pointee.left = taken
        }
        unsafe held.pointee.left &-= 1
        unsafe held.pointee.used &+= 1
        return false
    }
}

extension RuleFlow {
    /// Counts a packet against the flow's own bucket: true when it exceeds the limit. A flow lives
    /// on one worker, so this is all there is.
    fileprivate mutating func exceeds(_ limit: RateLimit, _ now: UInt64) -> Bool {
        let refilled = limit.refilled(now)
        // The end modulo 2^32: whatever lies outside the bucket is of old, and the bucket full.
        let end = ends[limit.flowIndex]
        let ahead = UInt64(end &- UInt32(truncatingIfNeeded: refilled))
        // 0: a flow that has taken none.
        let taken = end != 0 && ahead <= limit.burst ? ahead : 0
        guard taken < limit.burst else { return true }
        ends[limit.flowIndex] = max(1, UInt32(truncatingIfNeeded: refilled &+ taken &+ 1))
        return false
    }
}
