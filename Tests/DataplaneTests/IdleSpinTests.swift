import Dataplane
import Testing

@Suite("Spinning before sleep")
struct IdleSpinTests {
    @Test func `a worker that never had a packet sleeps at once`() {
        #expect(!IdleSpin(patience: 50).keepsLooking(at: 1_000_000))
    }

    @Test func `one packet after a pause is no reason to look on`() {
        var idle = IdleSpin(patience: 50)
        idle.noteBurst(at: 1_000)
        #expect(!idle.keepsLooking(at: 1_001))
    }

    @Test func `packets close together are, for as long as they were apart at most`() {
        var idle = IdleSpin(patience: 50)
        idle.noteBurst(at: 1_000)
        idle.noteBurst(at: 1_040)
        #expect(idle.keepsLooking(at: 1_041))
        #expect(idle.keepsLooking(at: 1_089))
        #expect(!idle.keepsLooking(at: 1_090))
        // The next one came after a sleep: the pause was longer than patience.
        idle.noteBurst(at: 1_200)
        #expect(!idle.keepsLooking(at: 1_201))
    }

    @Test func `without patience it never looks`() {
        var idle = IdleSpin(patience: 0)
        for now in [10, 10, 11] as [UInt64] { idle.noteBurst(at: now) }
        #expect(!idle.keepsLooking(at: 11))
    }
}
