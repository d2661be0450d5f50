import Dataplane
import PacketIO

/// A backend of one frame at a time: packets of a capture instead of a network, and the capture's
/// time instead of the clock. What the worker made of a packet stands in the frame afterwards.
struct CaptureIO: PacketIO, ~Copyable {
    /// The longest IPv4 packet, and as much to grow.
    private static let room = 1 << 17

    private let frame: UnsafeMutablePointer<Frame>
    private let slot: UnsafeMutableRawPointer
    private var isWaiting = false
    /// Nanoseconds.
    var clock: UInt64 = 0

    init() {
        slot = .allocate(byteCount: CaptureIO.room, alignment: 64)
        frame = .allocate(capacity: 1)
        frame.initialize(to: Frame(base: slot, length: 0, room: Int32(CaptureIO.room)))
    }

    deinit {
        frame.deallocate()
        slot.deallocate()
    }

    /// What the next `receive` brings. - Precondition: at most 65535 bytes.
    mutating func put(_ packet: [UInt8]) {
        precondition(packet.count <= Int(UInt16.max))
        packet.withUnsafeBytes { bytes in
            if let start = bytes.baseAddress {
                slot.copyMemory(from: start, byteCount: bytes.count)
            }
        }
        frame.pointee.length = Int32(packet.count)
        frame.pointee.isAnswer = false
        isWaiting = true
    }

    /// The packet as it would go back; nil when it was dropped.
    var answer: [UInt8]? {
        guard frame.pointee.isAnswer else { return nil }
        return Array(UnsafeRawBufferPointer(start: slot, count: Int(frame.pointee.length)))
    }

    // ---- PacketIO.

    var frames: UnsafeMutablePointer<Frame> { frame }
    var burstCapacity: Int { 1 }
    var kernelDrops: UInt64 { 0 }

    mutating func receive() -> Int {
        defer { isWaiting = false }
        return isWaiting ? 1 : 0
    }

    mutating func transmit(_ count: Int) -> TransmitReport {
        var report = TransmitReport()
        guard count > 0, frame.pointee.isAnswer else { return report }
        report.packets = 1
        report.bytes = Int(frame.pointee.length)
        return report
    }

    mutating func wait(milliseconds: Int32) {}
    mutating func pause(milliseconds: Int32) {}
    mutating func now() -> UInt64 { clock }
}
