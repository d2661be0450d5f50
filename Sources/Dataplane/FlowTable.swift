import CSluice
import PacketIO
import Wire

/// One worker's flows: fixed capacity, open addressing with a bounded probe, in memory of the
/// worker's node, allocated once.
///
/// The table is a row of buckets of eight slots. A key can lie in its home bucket only, so a
/// lookup reads one cache line of tags and, on a match, one slot. When a bucket is full, a flow
/// that is over makes room, else the one that was idle longest.
@safe public struct FlowTable<State: BitwiseCopyable>: ~Copyable {
    @inlinable static var bucketSize: Int { 8 }

    @usableFromInline struct Slot: BitwiseCopyable {
        @usableFromInline var key: FlowKey
        /// Monotonic nanoseconds of the last packet.
        @usableFromInline var lastSeen: UInt64
        /// Idle time after which the flow is over, nanoseconds.
        @usableFromInline var idle: UInt64
        @usableFromInline var cookie: UInt32
        @usableFromInline var state: State

        @inlinable @inline(__always)
        init(key: FlowKey, lastSeen: UInt64, idle: UInt64, cookie: UInt32, state: State) {
            self.key = key
            self.lastSeen = lastSeen
            self.idle = idle
            self.cookie = cookie
            self.state = state
        }
    }

    /// What a lookup found, for the counters.
    @frozen public struct Lookup: BitwiseCopyable, Sendable {
        public var slot = 0
        public var isNew = false
        public var isExpired = false
        public var isEvicted = false
        public var isCookieChange = false

        @inlinable public init() {}
    }

    /// Slots.
    public let capacity: Int
    @usableFromInline let bucketMask: Int
    @usableFromInline let seed: UInt64
    /// One tag per slot, 0 = empty.
    @usableFromInline let tags: UnsafeMutablePointer<UInt32>
    @usableFromInline let slots: UnsafeMutablePointer<Slot>
    @usableFromInline let fresh: State
    @usableFromInline var sweepBucket = 0
    @usableFromInline var liveCount = 0
    /// Flows in the table, those idle too long but not swept yet included.
    @inlinable public var live: Int { liveCount }

    /// - Parameters:
    ///   - capacity: slots, a power of two from 8 on.
    ///   - seed: keeps outsiders from aiming at one bucket.
    /// - Throws: ENOMEM.
    public init(capacity: Int, node: Int32, seed: UInt64, fresh: State) throws(IOFailure) {
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
    }

    deinit {
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

    /// Finds the flow or makes it.
    @inlinable @inline(__always)
    public mutating func find(
        _ key: FlowKey, cookie: UInt32, now: UInt64, idle: @autoclosure () -> UInt64
    ) -> Lookup {
        let hash = key.hash(seed: seed)
        // 0 means empty.
        let tag = UInt32(truncatingIfNeeded: hash &>> 32) | 1
        let home = (Int(truncatingIfNeeded: hash) & bucketMask) &* FlowTable.bucketSize
        var lookup = Lookup()
        // Sound below: home + i < capacity for every i < bucketSize.
        for i in 0..<FlowTable.bucketSize
        where unsafe tags[home &+ i] == tag && slots[home &+ i].key == key {
            lookup.slot = home &+ i
            refresh(&lookup, cookie: cookie, now: now, idle: idle())
            return lookup
        }
        return insert(
            Slot(key: key, lastSeen: now, idle: idle(), cookie: cookie, state: fresh), tag, home)
    }

    /// Out of line: the first packet of a flow pays, not every one.
    @inlinable @inline(never)
    mutating func insert(_ slot: Slot, _ tag: UInt32, _ home: Int) -> Lookup {
        var lookup = Lookup()
        lookup.slot = place(home, now: slot.lastSeen, &lookup)
        lookup.isNew = true
        unsafe tags[lookup.slot] = tag
        unsafe slots[lookup.slot] = slot
        return lookup
    }

    /// A flow seen again: alive, or over and begun anew with the same addresses.
    @inlinable @inline(__always)
    mutating func refresh(
        _ lookup: inout Lookup, cookie: UInt32, now: UInt64, idle: @autoclosure () -> UInt64
    ) {
        let slot = unsafe slots + lookup.slot
        if unsafe now &- slot.pointee.lastSeen > slot.pointee.idle {
            lookup.isExpired = true
            lookup.isNew = true
            unsafe slot.pointee.state = fresh
            unsafe slot.pointee.idle = idle()
        }
        if unsafe slot.pointee.cookie != cookie {
            lookup.isCookieChange = !lookup.isExpired
            unsafe slot.pointee.cookie = cookie
            unsafe slot.pointee.idle = idle()
        }
        unsafe slot.pointee.lastSeen = now
    }

    /// A slot of the bucket for a new flow: an empty one, else one that is over, else the one
    /// idle longest.
    @inlinable
    mutating func place(_ home: Int, now: UInt64, _ lookup: inout Lookup) -> Int {
        var oldest = home
        var over: Int?
        for i in home..<(home &+ FlowTable.bucketSize) {
            if unsafe tags[i] == 0 {
                liveCount &+= 1
                return i
            }
            if unsafe now &- slots[i].lastSeen > slots[i].idle { over = i }
            if unsafe slots[i].lastSeen < slots[oldest].lastSeen { oldest = i }
        }
        lookup.isExpired = over != nil
        lookup.isEvicted = over == nil
        return over ?? oldest
    }

    /// Follows the beginning and the end of a connection. RFC 9293 §3.1: FIN, SYN, RST and ACK are
    /// bits 0, 1, 2 and 4.
    @inlinable @inline(__always)
    mutating func followTCP(_ slot: Int, flags: UInt8, settings: PathSettings) {
        if flags & 0b1_0010 == 0b0_0010 { reopen(slot, idle: settings.tcpIdle) }
        if flags & 0b101 != 0 { close(slot, idle: settings.closedIdle) }
    }

    /// Shortens a flow's life after FIN or RST.
    @inlinable @inline(__always)
    public mutating func close(_ slot: Int, idle: UInt64) {
        assert(slot >= 0 && slot < capacity)
        // Sound: slot < capacity.
        unsafe slots[slot].idle = idle
    }

    /// Begins a flow anew that was closed: a SYN on the same addresses is another connection.
    @inlinable @inline(__always)
    public mutating func reopen(_ slot: Int, idle: UInt64) {
        assert(slot >= 0 && slot < capacity)
        // Sound: slot < capacity.
        guard unsafe slots[slot].idle != idle else { return }
        unsafe slots[slot].idle = idle
        unsafe slots[slot].state = fresh
    }

    /// Frees what has been idle too long in the next `buckets` buckets; returns how many flows.
    @inlinable
    public mutating func sweep(buckets: Int, now: UInt64) -> Int {
        var freed = 0
        for _ in 0..<buckets {
            let home = sweepBucket &* FlowTable.bucketSize
            for i in home..<(home &+ FlowTable.bucketSize)
            where unsafe tags[i] != 0 && now &- slots[i].lastSeen > slots[i].idle {
                unsafe tags[i] = 0
                freed &+= 1
            }
            sweepBucket = (sweepBucket &+ 1) & bucketMask
        }
        liveCount &-= freed
        return freed
    }
}
