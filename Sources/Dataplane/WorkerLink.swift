import CSluice
import PacketIO
import Synchronization

/// What one worker and the control side share, beside counters: configuration goes to the worker
/// by generation, events come back through a ring that never waits.
///
/// A link lives at least as long as its worker; copies are handles of the same memory.
@safe public struct WorkerLink: @unchecked Sendable, BitwiseCopyable {
    /// Events that wait at most; a power of two.
    public static var capacity: Int { 1024 }
    /// What an event may be aligned to, bytes.
    @usableFromInline static var eventAlignment: Int { 16 }

    // Words, those of each writer on cache lines of their own.

    /// The control side's: address of the snapshot in force, 0 = none.
    @usableFromInline static var newestWord: Int { 0 }
    /// The worker's: generation that it has adopted.
    private static var adoptedWord: Int { 8 }
    /// The worker's: events put in.
    @usableFromInline static var headWord: Int { 9 }
    /// The control side's: events taken out.
    @usableFromInline static var tailWord: Int { 16 }
    /// Nobody's: bytes of a slot.
    @usableFromInline static var strideWord: Int { 24 }
    /// Where slots start, bytes. A slot has the part in its first word, then the event.
    @usableFromInline static var slotsStart: Int { 256 }
    @usableFromInline static var eventStart: Int { 16 }

    @usableFromInline let words: UnsafeMutablePointer<Atomic<UInt64>>

    /// A link for workers with this processor. - Throws: ENOMEM.
    public init<Processor: PacketProcessor & ~Copyable>(
        _ type: Processor.Type, node: Int32 = -1
    ) throws(IOFailure) {
        try self.init(parts: Processor.parts, node: node)
    }

    /// - Parameter parts: those of the worker's processor. - Throws: ENOMEM.
    public init(parts: [ProcessorPart], node: Int32 = -1) throws(IOFailure) {
        let stride = WorkerLink.stride(parts)
        let bytes = WorkerLink.byteCount(stride)
        guard let memory = unsafe sluice_node_alloc(bytes, node) else {
            throw IOFailure("allocate \(bytes) bytes for events", errno: ENOMEM)
        }
        let count = WorkerLink.slotsStart / 8
        unsafe words = memory.bindMemory(to: Atomic<UInt64>.self, capacity: count)
        for i in 0..<count { unsafe (words + i).initialize(to: Atomic(0)) }
        unsafe words[WorkerLink.strideWord].store(UInt64(stride), ordering: .relaxed)
    }

    private static func stride(_ parts: [ProcessorPart]) -> Int {
        let largest = parts.map(\.eventSize).max() ?? 0
        return eventStart + (largest + eventAlignment - 1) & ~(eventAlignment - 1)
    }

    private static func byteCount(_ stride: Int) -> Int { slotsStart + capacity * stride }

    @usableFromInline var stride: Int {
        unsafe Int(words[WorkerLink.strideWord].load(ordering: .relaxed))
    }

    public var byteCount: Int { WorkerLink.byteCount(stride) }

    /// Memory that a link takes, bytes.
    public static func byteCount(of parts: [ProcessorPart]) -> Int { byteCount(stride(parts)) }

    /// Has room for the events of these parts.
    func fits(_ parts: [ProcessorPart]) -> Bool { WorkerLink.stride(parts) <= stride }

    /// Gives the memory back: no copy may be used after this.
    @unsafe public func free() { unsafe sluice_node_free(words, byteCount) }

    // ---- Configuration.

    /// Makes a snapshot the one that the worker adopts at its next burst. The caller keeps it
    /// until the worker has adopted a later one.
    public func publish(_ snapshot: Snapshot) {
        let address = unsafe UInt(bitPattern: Unmanaged.passUnretained(snapshot).toOpaque())
        unsafe words[WorkerLink.newestWord].store(UInt64(address), ordering: .releasing)
    }

    /// The generation that the worker has adopted; 0 before its start.
    public var generation: UInt64 {
        unsafe words[WorkerLink.adoptedWord].load(ordering: .acquiring)
    }

    /// The worker's side: the address of the snapshot in force, or 0.
    @inlinable @inline(__always)
    var newest: UInt64 { unsafe words[WorkerLink.newestWord].load(ordering: .acquiring) }

    /// The worker's side: the snapshot at an address that `newest` gave.
    @usableFromInline
    func snapshot(at address: UInt64) -> Snapshot {
        // Sound: publish() wrote it, and whoever published keeps it until we say that we have
        // adopted a later one.
        unsafe Unmanaged<Snapshot>.fromOpaque(UnsafeRawPointer(bitPattern: UInt(address))!)
            .takeUnretainedValue()
    }

    /// The worker's side: earlier snapshots may go.
    @usableFromInline
    func noteAdopted(_ generation: UInt64) {
        unsafe words[WorkerLink.adoptedWord].store(generation, ordering: .releasing)
    }

    // ---- Events.

    /// The worker's side: false when there is no room.
    @inlinable @inline(__always)
    func put<Event: BitwiseCopyable>(_ event: Event, part: Int) -> Bool {
        let head = unsafe words[WorkerLink.headWord].load(ordering: .relaxed)
        let tail = unsafe words[WorkerLink.tailWord].load(ordering: .acquiring)
        guard head &- tail < UInt64(WorkerLink.capacity) else { return false }
        let slot = unsafe self.slot(head)
        // Sound: the worker has checked that a slot has room for every event of its parts, and
        // the reader is done with this one.
        unsafe slot.storeBytes(of: part, as: Int.self)
        unsafe slot.storeBytes(of: event, toByteOffset: WorkerLink.eventStart, as: Event.self)
        unsafe words[WorkerLink.headWord].store(head &+ 1, ordering: .releasing)
        return true
    }

    @unsafe @inlinable @inline(__always)
    func slot(_ number: UInt64) -> UnsafeMutableRawPointer {
        let index = Int(truncatingIfNeeded: number) & (WorkerLink.capacity &- 1)
        return unsafe UnsafeMutableRawPointer(words) + WorkerLink.slotsStart + index &* stride
    }

    /// The control side: hands what waits to the parts that emitted it; returns how many.
    ///
    /// - Parameter parts: those that the link was made for.
    @discardableResult
    public func takeEvents(_ parts: [ProcessorPart], log: EventLog) -> Int {
        let head = unsafe words[WorkerLink.headWord].load(ordering: .acquiring)
        let tail = unsafe words[WorkerLink.tailWord].load(ordering: .relaxed)
        for number in tail..<head {
            // Sound: as put; the worker is done with this slot.
            let slot = unsafe self.slot(number)
            let part = unsafe slot.load(as: Int.self)
            unsafe parts[part].take(slot + WorkerLink.eventStart, log: log)
            unsafe words[WorkerLink.tailWord].store(number &+ 1, ordering: .releasing)
        }
        return Int(head - tail)
    }
}
