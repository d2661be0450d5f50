import CSluice
import Dataplane
import PacketIO
import Synchronization
import Wire

/// One limit of packets per second for the whole appliance: token buckets that all workers spend
/// from, without a lock and without an atomic read-modify-write.
///
/// The tokens of a bucket are numbered. At time t those below `refilled(t)` have come, at the
/// rate; a full bucket holds `burst` tokens, so a packet may take tokens below
/// `refilled(t) + burst`, and tokens below `refilled(t)` that nobody took are spilled. A bucket is
/// thus one number: where the tokens end that are taken (the generic cell rate algorithm of
/// ITU-T I.371, counted in cells). In any span of T seconds at most burst + rate × T packets pass.
///
/// Every worker publishes the end of the last tokens that *it* took, in memory that it alone
/// writes; a bucket ends at the highest of these. To take tokens a worker
///
/// 1. reads where the bucket ends, and stores the end of the tokens that it wants to take there;
/// 2. orders that store before what it reads next (a full fence, no read-modify-write);
/// 3. reads the ends of the others again. If none lies behind the place where its tokens start,
///    they are its own; else another worker was there at the same time: it takes its store back
///    and begins again.
///
/// Why no token is taken twice: of two workers the one whose fence comes later (sequentially
/// consistent fences have one order) sees in step 3 what the other has stored before its fence. If
/// the other keeps these tokens, its end never falls below theirs again; so they end before the
/// tokens of the later one start, or the later one begins again. No assumption on time is needed: a
/// worker may be stopped anywhere. Clocks need not agree either: a worker with an older time only
/// sees fewer tokens. No token is lost but those that a worker took ahead for its burst, did not
/// need, and cannot give back because another has taken some behind them: less than a fourth of
/// those it needed, and none when the bucket holds fewer than two tokens per worker.
@safe struct RateLimit: @unchecked Sendable, BitwiseCopyable {
    let per: Match.Rate.Per
    /// Which of a flow's own buckets (`per: flow`).
    let flowIndex: Int
    /// Tokens per nanosecond, × 2^64.
    private let factor: UInt64
    let burst: UInt64
    private let seed: UInt64
    let workers: Int
    private let groupMask: Int
    /// One region for each worker, which only it writes: marks, then the slots' words. Nil when
    /// flows have the buckets.
    private let words: UnsafeMutablePointer<Atomic<UInt64>>?

    /// Slots in which a key can lie.
    private static var groupSize: Int { 8 }
    /// Words of a slot: the key's three, the end of the tokens taken, and a note of the owner's.
    private static var slotWords: Int { 5 }

    init(_ rate: Match.Rate, flowIndex: Int, workers: Int) throws(IOFailure) {
        per = rate.per
        self.flowIndex = flowIndex
        self.workers = workers
        burst = UInt64(rate.burst)
        factor = UInt64((UInt128(rate.packetsPerSecond) << 64) / 1_000_000_000)
        seed = UInt64.random(in: .min ... .max)
        let slots = RateLimit.slots(rate.per)
        groupMask = max(1, slots / RateLimit.groupSize) - 1
        guard slots > 0 else {
            unsafe words = nil
            return
        }
        let count = workers * slots * (1 + RateLimit.slotWords)
        guard let memory = unsafe sluice_node_alloc(count * 8, -1) else {
            throw IOFailure("allocate \(count * 8) bytes for a rate limit", errno: ENOMEM)
        }
        // Zeroed memory is what Atomic(0) lays down.
        unsafe words = memory.bindMemory(to: Atomic<UInt64>.self, capacity: count)
    }

    func free() {
        if let words = unsafe words { unsafe sluice_node_free(words, byteCount) }
    }

    /// Buckets that each worker remembers.
    static func slots(_ per: Match.Rate.Per) -> Int {
        switch per {
        case .flow: 0
        case .source: 1 << 15
        case .endpoint: 1 << 10
        case .all: groupSize
        }
    }

    /// Bytes that one worker's buckets take.
    static func byteCount(_ per: Match.Rate.Per) -> Int { slots(per) * (1 + slotWords) * 8 }

    var byteCount: Int { workers * RateLimit.byteCount(per) }

    /// Tokens that have come by this time.
    @inline(__always)
    func refilled(_ now: UInt64) -> UInt64 { now.multipliedFullWidth(by: factor).high }

    // ---- Words. Sound: every index below comes from a slot of the region of a worker.

    @inline(__always)
    private func word(_ index: Int) -> UnsafeMutablePointer<Atomic<UInt64>> {
        unsafe words.unsafelyUnwrapped + index
    }

    /// Where a worker's marks start. A mark is a slot's tag and how often the slot changed hands;
    /// 0 while it is empty or changes hands.
    @inline(__always)
    private func marks(_ worker: Int) -> Int {
        assert(worker >= 0 && worker < workers)
        return worker &* ((groupMask &+ 1) &* RateLimit.groupSize &* (1 &+ RateLimit.slotWords))
    }

    /// Where a slot's words start.
    @inline(__always)
    private func slot(_ index: Int, _ worker: Int) -> Int {
        marks(worker) &+ (groupMask &+ 1) &* RateLimit.groupSize &+ index &* RateLimit.slotWords
    }

    @inline(__always)
    private func load(_ index: Int) -> UInt64 {
        unsafe word(index).pointee.load(ordering: .relaxed)
    }

    @inline(__always)
    private func store(_ index: Int, _ value: UInt64) {
        unsafe word(index).pointee.store(value, ordering: .relaxed)
    }

    // ---- Buckets.

    /// Whose tokens: zero where the limit does not ask.
    struct Key: BitwiseCopyable {
        var endpoint: UInt64 = 0
        var high: UInt64 = 0
        var low: UInt64 = 0

        /// Of a limit that asks for nothing.
        init() {}

        @inline(__always)
        init(_ per: Match.Rate.Per, _ packet: borrowing Packet) {
            guard per == .endpoint || per == .source else { return }
            endpoint = packet.endpoint
            guard per == .source else { return }
            // With the endpoint: address ranges behind different ones may overlap. An IPv4 address
            // as ::ffff:0:0/96 (RFC 4291 §2.5.5.2), so that it equals no IPv6 source.
            high = packet.source.high
            low = packet.version == 4 ? packet.source.low | 0xFFFF_0000_0000 : packet.source.low
        }

        /// Keyed, so that outsiders cannot aim at one group.
        @inline(__always)
        func hash(_ seed: UInt64) -> UInt64 {
            func mix(_ a: UInt64, _ b: UInt64) -> UInt64 {
                let product = a.multipliedFullWidth(by: b)
                return product.high ^ product.low
            }
            // The seed is in both operands: an outsider can make neither of them zero.
            let other = seed.byteSwapped
            let h = mix(seed ^ endpoint, other ^ 0x9E37_79B9_7F4A_7C15 ^ high)
            return mix(h ^ low, other ^ 0xD6E8_FEB8_6659_FD93)
        }
    }

    /// A bucket as one worker finds it.
    struct Place: BitwiseCopyable {
        var key: Key
        var tag: UInt64
        var group: Int
        /// In the worker's own region.
        var slot: Int
    }

    /// The worker's slot for a key, made on first sight: an empty one, else the one whose bucket is
    /// nearest to full, which then counts as full. Nil when all slots of the group are in use in
    /// this very burst.
    func place(_ key: Key, worker: Int, burst number: UInt64) -> Place? {
        let hash = key.hash(seed)
        let tag = hash &>> 32 | 1
        let group = (Int(truncatingIfNeeded: hash) & groupMask) &* RateLimit.groupSize
        var place = Place(key: key, tag: tag, group: group, slot: 0)
        var best = -1
        var lowest = UInt64.max
        for index in group..<(group &+ RateLimit.groupSize) {
            let mark = load(marks(worker) &+ index)
            if mark &>> 32 == tag, holds(slot(index, worker), key) {
                place.slot = index
                return place
            }
            // Where nothing ever lay, the end is 0.
            let end = load(slot(index, worker) &+ 3)
            if end < lowest, load(slot(index, worker) &+ 4) &>> 8 != number {
                lowest = end
                best = index
            }
        }
        guard best >= 0 else { return nil }
        place.slot = best
        move(into: place, worker)
        return place
    }

    @inline(__always)
    private func holds(_ slot: Int, _ key: Key) -> Bool {
        load(slot) == key.endpoint && load(slot &+ 1) == key.high && load(slot &+ 2) == key.low
    }

    /// Gives a slot to another key. Readers see the old key, the new one, or that it changes: what
    /// they miss is a bucket that goes, or one whose owner has yet to pass its fence.
    private func move(into place: Place, _ worker: Int) {
        let mark = marks(worker) &+ place.slot
        let slot = slot(place.slot, worker)
        // How often it has changed hands.
        let turn = (load(mark) &+ 1) & 0xFFFF_FFFF
        store(mark, 0)
        atomicMemoryFence(ordering: .releasing)
        store(slot, place.key.endpoint)
        store(slot &+ 1, place.key.high)
        store(slot &+ 2, place.key.low)
        store(slot &+ 3, 0)
        store(slot &+ 4, 0)
        unsafe word(mark).pointee.store(place.tag &<< 32 | turn, ordering: .releasing)
    }

    /// The highest end that the other workers have published for a bucket.
    @inline(__always)
    private func othersEnd(_ place: Place, worker: Int) -> UInt64 {
        var highest: UInt64 = 0
        for other in 0..<workers where other != worker {
            for index in place.group..<(place.group &+ RateLimit.groupSize) {
                let at = marks(other) &+ index
                let mark = unsafe word(at).pointee.load(ordering: .acquiring)
                guard mark &>> 32 == place.tag, holds(slot(index, other), place.key) else {
                    continue
                }
                let end = load(slot(index, other) &+ 3)
                atomicMemoryFence(ordering: .acquiring)
                // Unless the slot changed hands meanwhile.
                if load(at) == mark { highest = max(highest, end) }
                break
            }
        }
        return highest
    }

    /// Takes up to `wanted` tokens: how many, 0 when the bucket is empty, nil when other workers
    /// always came between.
    func take(_ wanted: UInt64, _ place: Place, worker: Int, now: UInt64) -> UInt64? {
        let refilled = refilled(now)
        let own = slot(place.slot, worker) &+ 3
        let before = load(own)
        for _ in 0..<4 {
            let start = max(refilled, before, othersEnd(place, worker: worker))
            guard start < refilled &+ burst else { return 0 }
            let share = (refilled &+ burst &- start) / UInt64(truncatingIfNeeded: workers)
            let count = min(wanted, max(1, share))
            store(own, start &+ count)
            guard workers > 1 else { return count }
            sluice_full_fence()
            if othersEnd(place, worker: worker) <= start { return count }
            store(own, before)
        }
        return nil
    }

    /// Gives the last `count` tokens back that the worker took, unless others have taken some
    /// behind them.
    func giveBack(_ count: UInt64, _ place: Place, worker: Int) {
        let own = slot(place.slot, worker) &+ 3
        let end = load(own)
        guard othersEnd(place, worker: worker) <= end else { return }
        store(own, end &- count)
    }

    /// What a worker has noted at its slot; the slot stays its key's as long as the note's upper 56
    /// bits are the number of its burst.
    @inline(__always)
    func note(_ place: Place, worker: Int) -> UInt64 { load(slot(place.slot, worker) &+ 4) }

    @inline(__always)
    func setNote(_ note: UInt64, _ place: Place, worker: Int) {
        store(slot(place.slot, worker) &+ 4, note)
    }
}
