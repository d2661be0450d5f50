import Dataplane
import Glibc
import PacketIO
import SluiceTesting
import Testing

/// The backend that users of SluiceTesting get: what its documentation promises.
@Suite("The in-memory backend")
struct MemoryIOTests {
    @Test func `each call takes one fault, in the order of the script`() throws {
        var io = MemoryIO()
        io.inject(.receiveError(EIO))
        io.inject(.overflow(1))
        io.inject(.overflow(2))
        #expect(io.receive() == -Int(EIO))
        #expect(io.receive() == 0)
        #expect(io.kernelDrops == 1)
        #expect(io.receive() == 0)
        #expect(io.kernelDrops == 3)

        io.inject(.partialSend(1))
        io.inject(.sendRetries(5))
        for i in 0..<6 as Range<UInt8> { io.enqueue([i]) }
        io.burstLimit = 2
        let reports = (0..<3).map { _ in
            #expect(io.receive() == 2)
            for i in 0..<2 { io.frames[i].isAnswer = true }
            return io.transmit(2)
        }
        #expect(reports.map(\.packets) == [1, 2, 2])
        #expect(reports.map(\.refused) == [1, 0, 0])
        #expect(reports.map(\.retries) == [0, 5, 0])
    }

    @Test func `what is sent is recorded as it was at that moment`() {
        var io = MemoryIO(burst: 2)
        for i in 1...3 as ClosedRange<UInt8> { io.enqueue([i, i, i]) }
        #expect(io.receive() == 2)
        io.frames[1].base.storeBytes(of: 9, as: UInt8.self)
        io.frames[1].length = 2
        io.frames[1].isAnswer = true
        #expect(io.transmit(2) == report(packets: 1, bytes: 2))
        io.frames[1].base.storeBytes(of: 0, as: UInt8.self)
        #expect(io.sent == [[9, 2]])
        #expect(io.receive() == 1)
        #expect(!io.frames[0].isAnswer)
    }

    private func report(packets: Int, bytes: Int) -> TransmitReport {
        var report = TransmitReport()
        (report.packets, report.bytes) = (packets, bytes)
        return report
    }

    @Test func `frames have room in slots, and just so much where it is exact`() {
        let placements: [(MemoryIO.Placement, Int32)] = [
            (.slots, 256), (.exact(growth: 0), 5), (.exact(growth: 3), 8),
        ]
        for (placement, room) in placements {
            var io = MemoryIO(slotSize: 256, placement: placement)
            io.enqueue([1, 2, 3, 4, 5], facts: .truncated)
            #expect(io.receive() == 1)
            #expect(io.frames[0].length == 5)
            #expect(io.frames[0].room == room)
            #expect(io.frames[0].facts == .truncated)
        }
    }

    @Test func `the clock stands still until it is advanced or ticks`() {
        var io = MemoryIO()
        let start = io.now()
        _ = io.receive()
        #expect(io.now() == start)
        io.advance(nanoseconds: 5)
        io.tick = 2
        _ = io.receive()
        _ = io.receive()
        #expect(io.now() == start + 9)
    }

    @Test func `the recording's limit loses nothing unnoticed`() {
        var io = MemoryIO(recordingSize: 5)
        for _ in 0..<3 { io.enqueue([1, 2]) }
        #expect(io.receive() == 3)
        for i in 0..<3 { io.frames[i].isAnswer = true }
        #expect(io.transmit(3).packets == 3)
        #expect(io.sent.count == 2)
        #expect(io.unrecorded == 1)
    }

    @Test func `rewound frames come again, as they were queued`() {
        var io = MemoryIO()
        io.enqueue([1])
        #expect(io.receive() == 1)
        io.frames[0].base.storeBytes(of: 2, as: UInt8.self)
        io.frames[0].isAnswer = true
        _ = io.transmit(1)
        io.rewind()
        #expect(io.sent.isEmpty)
        #expect(io.receive() == 1)
        #expect(io.frames[0].base.load(as: UInt8.self) == 1)
        #expect(!io.frames[0].isAnswer)
    }
}
