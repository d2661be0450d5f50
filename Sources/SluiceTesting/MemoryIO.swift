import CSluice
import SluiceCore

/// A backend made of memory: the twin of the socket backends for tests, fuzzing and instruction
/// counts.
///
/// Scripted with frames, burst limits and faults; has a clock of its own that stands still until
/// it is advanced; records what is sent. All memory is taken before the run: `receive` and
/// `transmit` allocate nothing.
@safe public struct MemoryIO: PacketIO, ~Copyable {
    /// What the next `receive()` or `transmit()` does instead of its work.
    public enum Fault: Equatable, Sendable, BitwiseCopyable {
        /// `receive()` returns -errno.
        case receiveError(Int32)
        /// The number of frames that the kernel lost before we saw them.
        case overflow(Int)
        /// The number of packets that `transmit()` sends; it refuses the rest.
        case partialSend(Int)
        /// `transmit()` retries so often, then sends all.
        case sendRetries(Int)
    }

    /// Where frames live.
    public enum Placement: Sendable {
        /// In one slab of slots, as with real rings; with room to grow.
        case slots
        /// Each in an allocation of exactly its length plus `growth` bytes, so that a sanitizer
        /// sees every access beyond it.
        case exact(growth: Int)
    }

    /// Frames per `receive()`.
    public var burstLimit: Int
    /// The virtual clock, nanoseconds.
    public var clock: UInt64 = 1_000_000_000
    /// Added to the clock by every `receive()`.
    public var tick: UInt64 = 0
    public private(set) var kernelDrops: UInt64 = 0
    /// How often `wait` was called.
    public private(set) var waits = 0

    private let slotSize: Int
    private let placement: Placement
    private let table: UnsafeMutablePointer<Frame>
    private let tableSize: Int
    private var slabs: [UnsafeMutableRawPointer] = unsafe []
    private var queue: [Frame] = []
    /// What was queued, for `rewind()`.
    private var script: [[UInt8]] = []
    private var queueHead = 0
    private var faults: [Fault] = []
    private var faultHead = 0
    private let recording: UnsafeMutableRawPointer
    private let recordingSize: Int
    private var recorded = 0
    private var ends: [Int] = []
    /// Frames sent but not recorded, for want of room.
    public private(set) var unrecorded = 0

    /// - Parameters:
    ///   - burst: frames per burst.
    ///   - slotSize: bytes of a slot.
    ///   - placement: where frames live.
    ///   - recordingSize: bytes kept of what is sent.
    public init(
        burst: Int = 64, slotSize: Int = 9216, placement: Placement = .slots,
        recordingSize: Int = 1 << 22
    ) {
        precondition(burst > 0)
        burstLimit = burst
        tableSize = burst
        self.slotSize = slotSize
        self.placement = placement
        self.recordingSize = recordingSize
        unsafe table = .allocate(capacity: burst)
        unsafe recording = .allocate(byteCount: max(1, recordingSize), alignment: 16)
        unsafe table.initialize(
            repeating: Frame(base: recording, length: 0, room: 0), count: burst)
        ends.reserveCapacity(1 << 14)
    }

    deinit {
        unsafe slabs.forEach { unsafe $0.deallocate() }
        unsafe recording.deallocate()
        unsafe table.deallocate()
    }

    // ---- The script.

    /// Queues a frame: an outer IPv4 packet. By default the backend vouches for nothing, so the
    /// worker checks all.
    public mutating func enqueue(_ bytes: [UInt8], facts: FrameFacts = []) {
        let room: Int
        switch placement {
        case .slots: room = max(slotSize, bytes.count)
        case .exact(let growth): room = bytes.count + growth
        }
        let slab = UnsafeMutableRawPointer.allocate(byteCount: max(1, room), alignment: 1)
        unsafe bytes.withUnsafeBytes { source in
            if let start = source.baseAddress {
                unsafe slab.copyMemory(from: start, byteCount: bytes.count)
            }
        }
        unsafe slabs.append(slab)
        script.append(bytes)
        unsafe queue.append(
            Frame(base: slab, length: Int32(bytes.count), room: Int32(room), facts: facts))
    }

    /// Queues a fault. Faults happen in this order: a `receive()` or `transmit()` takes the next
    /// one if it is of its kind, and only that one.
    public mutating func inject(_ fault: Fault) { faults.append(fault) }

    public mutating func advance(nanoseconds: UInt64) { clock += nanoseconds }

    /// Plays all frames again, as they were queued. Allocates nothing.
    public mutating func rewind() {
        for (frame, bytes) in zip(queue, script) {
            unsafe frame.base.copyMemory(from: bytes, byteCount: bytes.count)
        }
        queueHead = 0
        recorded = 0
        ends.removeAll(keepingCapacity: true)
    }

    /// Answers all frames as they are: what the memory alone costs.
    @usableFromInline mutating func playBack() {
        while true {
            let received = receive()
            guard received > 0 else { return }
            for i in 0..<received { unsafe table[i].isAnswer = true }
            _ = transmit(received)
        }
    }

    /// The packets sent so far, in order.
    public var sent: [[UInt8]] {
        var start = 0
        return ends.map { end in
            defer { start = end }
            return unsafe Array(
                UnsafeRawBufferPointer(start: recording + start, count: end - start))
        }
    }

    // ---- PacketIO.

    public var frames: UnsafeMutablePointer<Frame> { unsafe table }
    public var burstCapacity: Int { tableSize }
    public mutating func now() -> UInt64 { clock }
    public mutating func wait(milliseconds: Int32) { waits += 1 }
    public mutating func pause(milliseconds: Int32) { waits += 1 }

    public mutating func receive() -> Int {
        clock &+= tick
        switch nextFault(receiving: true) {
        case .receiveError(let error): return -Int(error)
        case .overflow(let lost): kernelDrops += UInt64(lost)
        default: break
        }
        let n = min(burstLimit, tableSize, queue.count - queueHead)
        for i in 0..<n {
            var frame = queue[queueHead + i]
            frame.isAnswer = false
            unsafe table[i] = frame
        }
        queueHead += n
        return n
    }

    public mutating func transmit(_ count: Int) -> TransmitReport {
        var report = TransmitReport()
        var budget = Int.max
        switch nextFault(receiving: false) {
        case .partialSend(let packets): budget = packets
        case .sendRetries(let retries): report.retries += retries
        default: break
        }
        for i in 0..<count where unsafe table[i].isAnswer {
            guard report.packets < budget else {
                report.refused += 1
                continue
            }
            let length = unsafe Int(table[i].length)
            unsafe record(table[i].base, length)
            report.packets += 1
            report.bytes += length
        }
        return report
    }

    private mutating func record(_ base: UnsafeMutableRawPointer, _ length: Int) {
        guard recorded + length <= recordingSize, ends.count < ends.capacity else {
            unrecorded += 1
            return
        }
        unsafe (recording + recorded).copyMemory(from: base, byteCount: length)
        recorded += length
        ends.append(recorded)
    }

    private mutating func nextFault(receiving: Bool) -> Fault? {
        guard faultHead < faults.count else { return nil }
        let isReceiving: Bool
        switch faults[faultHead] {
        case .receiveError, .overflow: isReceiving = true
        case .partialSend, .sendRetries: isReceiving = false
        }
        guard isReceiving == receiving else { return nil }
        faultHead += 1
        return faults[faultHead - 1]
    }
}
