import Gateway
import SluiceTesting
import Testing
import Verification

@Suite struct ReturnWindowTests {
    private struct Desk {
        var window = ReturnWindow()
        var settings = WindowSettings()
        var now: UInt64 = 1_000_000_000

        mutating func send(_ body: UInt64, drop: Bool = false, mark: Bool = false) {
            window.sent(
                Fingerprint(body: body, checksums: 1), expectsDrop: drop, mark: mark, at: now,
                settings)
        }

        mutating func receive(_ body: UInt64, checksums: UInt32 = 1) -> ReturnWindow.Verdict {
            window.returned(Fingerprint(body: body, checksums: checksums), at: now, settings)
                .verdict
        }
    }

    @Test func inOrder() {
        var desk = Desk()
        for i in 0..<100 as Range<UInt64> { desk.send(i) }
        for i in 0..<100 as Range<UInt64> { #expect(desk.receive(i) == .fine) }
    }

    /// Whatever is lost: what comes back in order is never complained about, also when packets
    /// look alike.
    @Test(arguments: 0..<200 as Range<UInt64>)
    func lossIsNoViolation(seed: UInt64) {
        var random = SeededGenerator(seed: seed)
        var desk = Desk()
        let kinds = UInt64.random(in: 1...20, using: &random)
        var under: [UInt64] = []
        for _ in 0..<2000 {
            if Bool.random(using: &random) {
                let body = UInt64.random(in: 0..<kinds, using: &random)
                desk.send(body)
                if UInt64.random(in: 0..<10, using: &random) < 7 { under.append(body) }
            } else if !under.isEmpty {
                #expect(desk.receive(under.removeFirst()) == .fine)
            }
        }
        while !under.isEmpty { #expect(desk.receive(under.removeFirst()) == .fine) }
    }

    @Test func reordered() {
        var desk = Desk()
        for i in 0..<4 as Range<UInt64> { desk.send(i) }
        #expect(desk.receive(1) == .fine)
        #expect(desk.receive(3) == .fine)
        #expect(desk.receive(0) == .violation(.reordered))
        #expect(desk.receive(2) == .violation(.reordered))
    }

    @Test func duplicates() {
        var desk = Desk()
        for _ in 0..<3 { desk.send(7) }
        for _ in 0..<3 { #expect(desk.receive(7) == .fine) }
        #expect(desk.receive(7) == .violation(.duplicate))
        desk.send(7)
        #expect(desk.receive(7) == .fine)
    }

    @Test func neverSent() {
        var desk = Desk()
        #expect(desk.receive(1) == .violation(.payload))
        desk.send(2)
        #expect(desk.receive(1) == .violation(.payload))
        #expect(desk.receive(2) == .fine)
    }

    @Test func wrongChecksums() {
        var desk = Desk()
        desk.send(1)
        #expect(desk.receive(1, checksums: 2) == .violation(.innerChecksum))
        #expect(desk.receive(1) == .violation(.duplicate), "it was back, if damaged")
    }

    @Test func expectedDrops() {
        var desk = Desk()
        desk.send(1)
        desk.send(2, drop: true)
        desk.send(3)
        #expect(desk.receive(1) == .fine)
        #expect(desk.receive(3) == .fine)
        #expect(desk.receive(2) == .violation(.missingDrop))
    }

    @Test func late() {
        var desk = Desk()
        desk.send(1)
        desk.send(2)
        desk.now += desk.settings.lateness
        #expect(desk.receive(2) == .fine)
        desk.now += 1
        #expect(desk.receive(1) == .violation(.late))
    }

    @Test func marksComeBackOnce() {
        var desk = Desk()
        desk.send(1, mark: true)
        let print = Fingerprint(body: 1, checksums: 1)
        #expect(desk.window.returned(print, at: desk.now, desk.settings).mark)
        #expect(!desk.window.returned(print, at: desk.now, desk.settings).mark)
    }

    @Test func memoryIsBounded() {
        var desk = Desk()
        desk.settings.capacity = 64
        for i in 0..<1000 as Range<UInt64> {
            desk.send(i)
            #expect(desk.receive(i) == .fine)
        }
        #expect(desk.window.count == 64)
        #expect(desk.receive(990) == .violation(.duplicate))
    }

    /// What had to be forgotten while it was out is not judged when it comes back after all.
    @Test func forgottenPacketsAreNotJudged() {
        var desk = Desk()
        desk.settings.capacity = 64
        for i in 0..<100 as Range<UInt64> { desk.send(i) }
        #expect(desk.receive(0) == .unknown)
        #expect(desk.receive(50) == .fine)
        desk.now += desk.settings.memory
        #expect(desk.receive(0) == .violation(.payload))
    }

    @Test func idleEntriesMakeRoomWithoutGrowing() {
        var desk = Desk()
        for i in 0..<1000 as Range<UInt64> {
            desk.send(i)
            desk.now += desk.settings.memory / 4
        }
        #expect(desk.window.count <= 8)
    }
}
