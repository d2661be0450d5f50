import Dataplane
import PacketIO

/// A backend of one frame at a time: packets of a capture instead of a network, and the capture's
/// time instead of the clock. What the worker made of a packet stands in the frame afterwards.
struct CaptureIO: PacketIO, ~Copyable {
    /// The longest IPv4 packet, and as much to grow.
    private static let room = 1 << 17

    private let slot = FixedTable<UInt8>(count: CaptureIO.room, repeating: 0)
    private let frame: FixedTable<Frame>
    private var isWaiting = false
    /// Nanoseconds.
    var clock: UInt64 = 0

    init() {
        // Sound: the slot has `room` bytes and lives as long as the frame that points to it.
        let empty = unsafe Frame(base: slot.pointer(), length: 0, room: Int32(CaptureIO.room))
        frame = FixedTable(count: 1, repeating: empty)
    }

    /// What the next `receive` brings. - Precondition: at most 65535 bytes.
    mutating func put(_ packet: [UInt8]) {
        precondition(packet.count <= Int(UInt16.max))
        // Sound: the slot has room for more than the 65535 bytes checked above, and no array
        // shares its memory.
        unsafe slot.pointer().update(from: packet, count: packet.count)
        unsafe frames.pointee.length = Int32(packet.count)
        unsafe frames.pointee.isAnswer = false
        isWaiting = true
    }

    /// The packet as it would go back; nil when it was dropped.
    var answer: [UInt8]? {
        // Sound: the worker leaves `length` within the frame's room, which is the slot.
        guard unsafe frames.pointee.isAnswer else { return nil }
        return unsafe Array(
            UnsafeBufferPointer(start: slot.pointer(), count: Int(frames.pointee.length)))
    }

    // ---- PacketIO.

    var frames: UnsafeMutablePointer<Frame> { unsafe frame.pointer() }
    var burstCapacity: Int { 1 }
    var kernelDrops: UInt64 { 0 }

    mutating func receive() -> Int {
        defer { isWaiting = false }
        return isWaiting ? 1 : 0
    }

    mutating func transmit(_ count: Int) -> TransmitReport {
        var report = TransmitReport()
        // Sound: the table holds this one frame for as long as the backend lives.
        guard count > 0, unsafe frames.pointee.isAnswer else { return report }
        report.packets = 1
        report.bytes = unsafe Int(frames.pointee.length)
        return report
    }

    mutating func wait(milliseconds: Int32) {}
    mutating func pause(milliseconds: Int32) {}
    mutating func now() -> UInt64 { clock }
}
