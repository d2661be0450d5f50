import CSluice
import PacketIO
import Synchronization
import Wire

/// A packet that a rule with the action `log` matched.
public struct RuleEvent: BitwiseCopyable, Sendable {
    /// Of the snapshot, whose `ruleNames` has the rule's name.
    public var generation: UInt64
    public var rule: Int
    public var isDryRun: Bool
    public var endpoint: UInt64
    public var version: UInt8
    public var protocolNumber: UInt8
    public var source: IPv6Address
    public var destination: IPv6Address
    public var sourcePort: UInt16
    public var destinationPort: UInt16
    /// Inner IP packet, bytes.
    public var length: Int
}

/// Events from one worker to the control side: bounded, never waits, losses counted.
@safe struct EventRing: @unchecked Sendable, BitwiseCopyable {
    /// A power of two.
    private static var capacity: UInt64 { 64 }

    private struct Header: ~Copyable {
        /// Events put in, written by the worker.
        let head = Atomic<UInt64>(0)
        let lost = Atomic<UInt64>(0)
        /// Events taken out, written by the control side.
        let tail = Atomic<UInt64>(0)
        let lostSeen = Atomic<UInt64>(0)
    }

    private let header: UnsafeMutablePointer<Header>
    private let slots: UnsafeMutablePointer<RuleEvent>

    /// - Throws: ENOMEM.
    init() throws(IOFailure) {
        guard let memory = unsafe sluice_node_alloc(EventRing.byteCount, -1) else {
            throw IOFailure("allocate \(EventRing.byteCount) bytes for events", errno: ENOMEM)
        }
        unsafe header = memory.bindMemory(to: Header.self, capacity: 1)
        unsafe header.initialize(to: Header())
        unsafe slots = (memory + 128).bindMemory(
            to: RuleEvent.self, capacity: Int(EventRing.capacity))
    }

    private static var byteCount: Int { 128 + Int(capacity) * MemoryLayout<RuleEvent>.stride }

    func free() { unsafe sluice_node_free(header, EventRing.byteCount) }

    /// The worker's side.
    func put(_ event: RuleEvent) {
        let head = unsafe header.pointee.head.load(ordering: .relaxed)
        guard unsafe head &- header.pointee.tail.load(ordering: .acquiring) < EventRing.capacity
        else { return lose() }
        // Sound: the index is below the capacity, and the reader is done with this slot.
        unsafe slots[Int(head & (EventRing.capacity - 1))] = event
        unsafe header.pointee.head.store(head &+ 1, ordering: .releasing)
    }

    func lose() {
        let lost = unsafe header.pointee.lost.load(ordering: .relaxed)
        unsafe header.pointee.lost.store(lost &+ 1, ordering: .relaxed)
    }

    /// The control side: hands over what waits; returns how many were lost since the last time.
    func take(_ body: (RuleEvent) -> Void) -> UInt64 {
        let head = unsafe header.pointee.head.load(ordering: .acquiring)
        var tail = unsafe header.pointee.tail.load(ordering: .relaxed)
        while tail != head {
            // Sound: as put; the worker is done with this slot.
            unsafe body(slots[Int(tail & (EventRing.capacity - 1))])
            tail &+= 1
        }
        unsafe header.pointee.tail.store(tail, ordering: .releasing)
        let lost = unsafe header.pointee.lost.load(ordering: .relaxed)
        let seen = unsafe header.pointee.lostSeen.load(ordering: .relaxed)
        unsafe header.pointee.lostSeen.store(lost, ordering: .relaxed)
        return lost &- seen
    }
}
