import Testing

@testable import Generator

/// When packets are due, without any clock.
@Suite struct ScheduleTests {
    private func times(_ schedule: Schedule) -> [UInt64] {
        var schedule = schedule
        return (0..<schedule.total).map { schedule.due($0) }
    }

    @Test func aConstantRateIsEven() {
        let due = times(Schedule(.constant(.packetsPerSecond(1000)), seconds: 2, packetBits: 1))
        #expect(due.count == 2000)
        #expect(due[0] == 0)
        for i in due.indices { #expect(abs(Int64(due[i]) - Int64(i) * 1_000_000) <= 1) }
    }

    @Test func bitsBecomePacketsOfTheMeanSize() {
        let schedule = Schedule(.constant(.bitsPerSecond(1e6)), seconds: 1, packetBits: 1000)
        #expect(schedule.total == 1000)
    }

    @Test func aRampHasItsMeanRateAndItsEnds() {
        let due = times(
            Schedule(
                .ramp(.packetsPerSecond(100), .packetsPerSecond(300)), seconds: 10, packetBits: 1))
        #expect(due.count == 2000)
        #expect(due == due.sorted())
        // Half of the way: 100 + 200 packets a second at the middle, (100 + 200) / 2 × 5 sent.
        #expect(due.filter { $0 < 5_000_000_000 }.count == 750)
        #expect(due.last! < 10_000_000_000)
        #expect(abs(Double(due[1] - due[0]) - 1e7) < 2e5)
        #expect(abs(Double(due[1999] - due[1998]) - 1e9 / 300) < 2e4)
    }

    @Test func aRampMayFallToo() {
        let due = times(
            Schedule(
                .ramp(.packetsPerSecond(300), .packetsPerSecond(100)), seconds: 10, packetBits: 1))
        #expect(due.count == 2000)
        #expect(due == due.sorted())
        #expect(due.last! < 10_000_000_000)
        #expect(due.filter { $0 < 5_000_000_000 }.count == 1250)
    }

    @Test func stepsFollowOneAnother() {
        let due = times(
            Schedule(
                .steps([.packetsPerSecond(100), .packetsPerSecond(500)]), seconds: 2, packetBits: 1)
        )
        #expect(due.count == 600)
        #expect(due.filter { $0 < 1_000_000_000 }.count == 100)
        #expect(due == due.sorted())
    }

    @Test func partsAddUp() {
        let shares = [0.5, 0.3, 0.2]
        let totals = shares.map {
            Schedule(
                .constant(.packetsPerSecond(10_000)), seconds: 3, packetBits: 1, share: $0
            ).total
        }
        #expect(totals.reduce(0, +) == 30_000)
    }
}
