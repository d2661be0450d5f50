import CSluice
import PacketIO
import Wire

/// One worker's flows: fixed capacity, open addressing with a bounded probe, in memory of the
/// worker's node, allocated once.
///
/// The table is a row of buckets of eight slots. A key can lie in its home bucket only, so a
/// lookup reads one cache line of tags and, on a match, one slot. When a bucket is full, a flow
/// that is over makes room, else the one that would be over first, unless the table is told to
/// keep live flows: then a new one finds no room.
@safe public struct FlowTable<State: BitwiseCopyable>: ~Copyable {
    @inlinable static var bucketSize: Int { 8 }

    @usableFromInline struct Slot: BitwiseCopyable {
        @usableFromInline var key: FlowKey
        /// Monotonic nanoseconds of the last packet.
        @usableFromInline var lastSeen: UInt64
        /// Bits 0 to 31: the cookie. 32 to 39: the phase, 0 for that in which a flow begins. 40 to
        /// 47: who has sent FIN (bits 0, 1) and SYN (2, 3), the low end of the key or the high one.
        /// So one comparison tells a flow in its usual phase, with the same cookie.
        @usableFromInline var mark: UInt64
        @usableFromInline var state: State

        @inlinable @inline(__always)
        init(key: FlowKey, lastSeen: UInt64, cookie: UInt32, state: State) {
            self.key = key
            self.lastSeen = lastSeen
            mark = UInt64(cookie)
            self.state = state
        }

        @inlinable var phase: FlowPhase {
            @inline(__always) get {
                let index = UInt8(truncatingIfNeeded: mark &>> 32)
                return index == 0 ? FlowPhase(key) : FlowPhase(index: index)
            }
            @inline(__always) set {
                let isRare = newValue.index > FlowPhase.open.index
                mark &= isRare ? 0xFF00_FFFF_FFFF : 0xFFFF_FFFF
                if isRare { mark |= UInt64(newValue.index) &<< 32 }
            }
        }

        @inlinable var sides: UInt8 {
            @inline(__always) get { UInt8(truncatingIfNeeded: mark &>> 40) }
            @inline(__always) set { mark = mark & 0xFF_FFFF_FFFF | UInt64(newValue) &<< 40 }
        }

        @inlinable var cookie: UInt32 {
            @inline(__always) get { UInt32(truncatingIfNeeded: mark) }
            @inline(__always) set { mark = mark & ~0xFFFF_FFFF | UInt64(newValue) }
        }
    }

    /// What a lookup found, for the counters.
    @frozen public struct Lookup: BitwiseCopyable, Sendable {
        /// Negative: a new flow that found no room.
        public var slot = 0
        /// One test tells that nothing is to be counted.
        @usableFromInline var events: UInt8

        @inlinable public init() { events = 0 }

        @inlinable public var isNew: Bool {
            get { events & 1 != 0 }
            set { events = events & ~1 | (newValue ? 1 : 0) }
        }
        @inlinable public var isExpired: Bool {
            get { events & 2 != 0 }
            set { events = events & ~2 | (newValue ? 2 : 0) }
        }
        @inlinable public var isEvicted: Bool {
            get { events & 4 != 0 }
            set { events = events & ~4 | (newValue ? 4 : 0) }
        }
        @inlinable public var isCookieChange: Bool {
            get { events & 8 != 0 }
            set { events = events & ~8 | (newValue ? 8 : 0) }
        }

        /// Something is to be counted.
        @inlinable public var hasEvents: Bool { events != 0 }

        /// The flow is in a phase that any packet may end, as an answer does.
        @inlinable public var isInRarePhase: Bool { events & 16 != 0 }
    }

    /// Slots.
    public let capacity: Int
    /// May change at any time: what counts is how long a flow has been idle when it is looked at.
    @inlinable public var lifetimes: FlowLifetimes {
        // Sound: there is room for five, and an index is at most 4.
        get {
            var value = FlowLifetimes()
            value.other = unsafe times[0]
            value.open = unsafe times[1]
            value.opening = unsafe times[2]
            value.halfClosed = unsafe times[3]
            value.closed = unsafe times[4]
            return value
        }
        set {
            unsafe times[0] = newValue.other
            unsafe times[1] = newValue.open
            unsafe times[2] = newValue.opening
            unsafe times[3] = newValue.halfClosed
            unsafe times[4] = newValue.closed
            soonest = min(Int64(bitPattern: newValue.other), Int64(bitPattern: newValue.open))
        }
    }
    /// A full bucket gives up a live flow for a new one.
    public var evictsLiveFlows = true
    @usableFromInline let bucketMask: Int
    @usableFromInline let seed: UInt64
    /// One tag per slot, 0 = empty.
    @usableFromInline let tags: UnsafeMutablePointer<UInt32>
    @usableFromInline let slots: UnsafeMutablePointer<Slot>
    /// No flow in a usual phase is over before it has been idle for so long.
    @usableFromInline var soonest: Int64 = 0
    /// `lifetimes` by the index of a phase.
    @usableFromInline let times: UnsafeMutablePointer<UInt64>
    @usableFromInline let fresh: State
    @usableFromInline var sweepBucket = 0
    @usableFromInline var liveCount = 0
    /// Flows in the table, those idle too long but not swept yet included.
    @inlinable public var live: Int { liveCount }
    @inlinable public var bucketCount: Int { bucketMask &+ 1 }

    /// - Parameters:
    ///   - capacity: slots, a power of two from 8 on.
    ///   - seed: keeps outsiders from aiming at one bucket.
    /// - Throws: ENOMEM.
    public init(
        capacity: Int, node: Int32, seed: UInt64, fresh: State,
        lifetimes: FlowLifetimes = FlowLifetimes()
    ) throws(IOFailure) {
        precondition(capacity >= 8 && capacity & (capacity - 1) == 0)
        let tagBytes = capacity * MemoryLayout<UInt32>.stride
        let slotBytes = capacity * MemoryLayout<Slot>.stride
        guard let tagMemory = unsafe sluice_node_alloc(tagBytes, node) else {
            throw IOFailure("allocate \(tagBytes) bytes for flow tags", errno: ENOMEM)
        }
        guard let slotMemory = unsafe sluice_node_alloc(slotBytes, node) else {
            unsafe sluice_node_free(tagMemory, tagBytes)
            throw IOFailure("allocate \(slotBytes) bytes for flows", errno: ENOMEM)
        }
        self.capacity = capacity
        bucketMask = capacity / FlowTable.bucketSize - 1
        self.seed = seed
        self.fresh = fresh
        unsafe tags = tagMemory.bindMemory(to: UInt32.self, capacity: capacity)
        unsafe slots = slotMemory.bindMemory(to: Slot.self, capacity: capacity)
        unsafe times = .allocate(capacity: 5)
        self.lifetimes = lifetimes
    }

    deinit {
        unsafe times.deallocate()
        unsafe sluice_node_free(tags, capacity * MemoryLayout<UInt32>.stride)
        unsafe sluice_node_free(slots, capacity * MemoryLayout<Slot>.stride)
    }

    public var byteCount: Int { FlowTable.byteCount(capacity: capacity) }

    /// Memory that a table of this capacity takes, bytes.
    public static func byteCount(capacity: Int) -> Int {
        capacity * (MemoryLayout<UInt32>.stride + MemoryLayout<Slot>.stride)
    }

    /// The state of the flow in a slot that a lookup named; its own until the next lookup.
    @inlinable
    public subscript(slot: Int) -> State {
        @inline(__always) get {
            assert(slot >= 0 && slot < capacity)
            // Sound: slot < capacity.
            return unsafe slots[slot].state
        }
        @inline(__always) _modify {
            assert(slot >= 0 && slot < capacity)
            // Sound: slot < capacity.
            yield unsafe &slots[slot].state
        }
    }

    /// How far the flow in a slot is.
    public func phase(_ slot: Int) -> FlowPhase {
        precondition(slot >= 0 && slot < capacity)
        return unsafe slots[slot].phase
    }

    // ---- Lookup.

    /// Finds the flow or makes it.
    @inlinable @inline(__always)
    public mutating func find(_ key: FlowKey, cookie: UInt32, now: UInt64) -> Lookup {
        let (tag, home) = place(of: key)
        var lookup = Lookup()
        // Sound below: home + i < capacity for every i < bucketSize.
        for i in 0..<FlowTable.bucketSize
        where unsafe tags[home &+ i] == tag && slots[home &+ i].key == key {
            let slot = unsafe slots + (home &+ i)
            let idle = unsafe Int64(bitPattern: now &- slot.pointee.lastSeen)
            if unsafe idle > soonest || slot.pointee.mark != UInt64(cookie) {
                return renew(home &+ i, cookie: cookie, now: now)
            }
            unsafe slot.pointee.lastSeen = now
            lookup.slot = home &+ i
            return lookup
        }
        return insert(Slot(key: key, lastSeen: now, cookie: cookie, state: fresh), tag, home)
    }

    /// The tag of a key, and where its home bucket begins.
    @inlinable @inline(__always)
    func place(of key: FlowKey) -> (tag: UInt32, home: Int) {
        let hash = key.hash(seed: seed)
        // 0 means empty.
        let tag = UInt32(truncatingIfNeeded: hash &>> 32) | 1
        return (tag, (Int(truncatingIfNeeded: hash) & bucketMask) &* FlowTable.bucketSize)
    }

    /// Signed: a clock that steps back ends no flow.
    @unsafe @inlinable @inline(__always)
    func isOver(_ slot: UnsafeMutablePointer<Slot>, _ now: UInt64) -> Bool {
        unsafe Int64(bitPattern: now &- slot.pointee.lastSeen)
            > Int64(bitPattern: times[Int(slot.pointee.phase.index)])
    }

    /// Out of line: the first packet of a flow pays, not every one.
    @inlinable @inline(never)
    mutating func insert(_ slot: Slot, _ tag: UInt32, _ home: Int) -> Lookup {
        var lookup = Lookup()
        lookup.isNew = true
        lookup.slot = place(home, now: slot.lastSeen, &lookup)
        guard lookup.slot >= 0 else { return lookup }
        unsafe tags[lookup.slot] = tag
        unsafe slots[lookup.slot] = slot
        return lookup
    }

    /// A flow seen again that may be over, whose cookie changed, or that is in a rare phase.
    ///
    /// GWLB gives every flow a cookie. Another one on the same addresses means that GWLB began the
    /// flow anew: after a closed one it is another flow; else the ends may go on with the same one
    /// (after a failover), so its state stays.
    @inlinable @inline(never)
    mutating func renew(_ index: Int, cookie: UInt32, now: UInt64) -> Lookup {
        var lookup = Lookup()
        lookup.slot = index
        let slot = unsafe slots + index
        let isOver = unsafe isOver(slot, now)
        let isOther = unsafe slot.pointee.cookie != cookie
        lookup.isCookieChange = !isOver && isOther
        if unsafe isOver || isOther && slot.pointee.phase == .closed {
            unsafe begin(slot, FlowPhase(slot.pointee.key))
            lookup.isExpired = true
            lookup.isNew = true
        }
        if unsafe slot.pointee.phase.index > FlowPhase.open.index { lookup.events |= 16 }
        unsafe slot.pointee.cookie = cookie
        unsafe slot.pointee.lastSeen = now
        return lookup
    }

    /// Another flow with the same key.
    @unsafe @inlinable
    func begin(_ slot: UnsafeMutablePointer<Slot>, _ phase: FlowPhase) {
        unsafe slot.pointee.state = fresh
        unsafe slot.pointee.phase = phase
        unsafe slot.pointee.sides = 0
    }

    /// A slot of the bucket for a new flow: an empty one, else one that is over, else the one that
    /// would be over first; or a negative number.
    @inlinable
    mutating func place(_ home: Int, now: UInt64, _ lookup: inout Lookup) -> Int {
        var first = home
        var least = Int64.max
        for i in home..<(home &+ FlowTable.bucketSize) {
            if unsafe tags[i] == 0 {
                liveCount &+= 1
                return i
            }
            // What is left of its life; a clock that stepped back gives more.
            let left =
                unsafe Int64(bitPattern: times[Int(slots[i].phase.index)])
                &- Int64(bitPattern: now &- slots[i].lastSeen)
            if left < least {
                least = left
                first = i
            }
        }
        lookup.isExpired = least < 0
        guard least < 0 || evictsLiveFlows else { return placeOfClosed(home, &lookup) }
        lookup.isEvicted = least >= 0
        return first
    }

    /// Where live flows stay, those that have ended make room all the same, the oldest first.
    @inlinable @inline(never)
    func placeOfClosed(_ home: Int, _ lookup: inout Lookup) -> Int {
        var oldest = -1
        for i in home..<(home &+ FlowTable.bucketSize) where unsafe slots[i].phase == .closed {
            if unsafe oldest < 0 || slots[i].lastSeen < slots[oldest].lastSeen { oldest = i }
        }
        lookup.isEvicted = oldest >= 0
        return oldest
    }

    /// Where a flow stands that is not over; negative without one.
    @inlinable @inline(never)
    func peek(_ key: FlowKey, now: UInt64) -> Int {
        let (tag, home) = place(of: key)
        // Sound: home + i < capacity for every i < bucketSize.
        for i in home..<(home &+ FlowTable.bucketSize)
        where unsafe tags[i] == tag && slots[i].key == key && !isOver(slots + i, now) {
            return i
        }
        return -1
    }

    /// Ends a flow before its time: it is the first to make room.
    public mutating func close(_ slot: Int) {
        precondition(slot >= 0 && slot < capacity)
        unsafe slots[slot].phase = .closed
    }

    // ---- TCP.

    /// Begins a connection by a SYN, before anybody decides on it. True when it is another flow
    /// with the same key: a SYN after the end of the one before.
    ///
    /// - Parameters:
    ///   - isLow: the packet runs from the low end of the key to the high one.
    ///   - isNew: the lookup of this packet made the flow.
    @inlinable @inline(never)
    public mutating func open(_ slot: Int, isLow: Bool, isNew: Bool) -> Bool {
        assert(slot >= 0 && slot < capacity)
        // Sound: slot < capacity.
        let flow = unsafe slots + slot
        let isAnother = unsafe flow.pointee.phase == .closed
        guard isNew || isAnother else { return false }
        unsafe begin(flow, .opening)
        unsafe flow.pointee.sides = (isLow ? 1 : 2) &<< 2
        return isAnother
    }

    /// Follows a connection by the flags of a packet that is forwarded: what does not reach the
    /// other end changes nothing there.
    ///
    /// - Parameter isLow: as for `open`.
    @inlinable @inline(never)
    public mutating func follow(_ slot: Int, flags: UInt8, isLow: Bool) {
        assert(slot >= 0 && slot < capacity)
        // Sound: slot < capacity.
        let flow = unsafe slots + slot
        let side: UInt8 = isLow ? 1 : 2
        if flags & TCPFlag.rst != 0 {
            unsafe flow.pointee.phase = .closed
            return
        }
        if unsafe flow.pointee.phase == .opening, unsafe flow.pointee.sides & (side &<< 2) == 0 {
            unsafe flow.pointee.phase = .open
        }
        if flags & TCPFlag.fin != 0, unsafe flow.pointee.phase != .closed {
            unsafe flow.pointee.sides |= side
            unsafe flow.pointee.phase = flow.pointee.sides & 0b11 == 0b11 ? .closed : .halfClosed
        }
    }

    // ---- Time.

    /// Frees what has been idle too long in the next `buckets` buckets; returns how many flows.
    @inlinable
    public mutating func sweep(buckets: Int, now: UInt64) -> Int {
        var freed = 0
        for _ in 0..<buckets {
            let home = sweepBucket &* FlowTable.bucketSize
            for i in home..<(home &+ FlowTable.bucketSize)
            where unsafe tags[i] != 0 && isOver(slots + i, now) {
                unsafe tags[i] = 0
                freed &+= 1
            }
            sweepBucket = (sweepBucket &+ 1) & bucketMask
        }
        liveCount &-= freed
        return freed
    }
}
