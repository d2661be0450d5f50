import Support
import Testing

@testable import Appliance
@testable import Configuration

/// Nanoseconds in a second: product time is tested on a virtual clock.
let second: UInt64 = 1_000_000_000

@Suite("Health")
struct HealthTests {
    @Test("starting until every worker has beaten")
    func starting() {
        #expect(Health(now: second, heartbeats: [second, 0], isDraining: false) == .starting)
    }

    @Test("healthy while every beat is at most a second old")
    func healthy() {
        let now = 10 * second
        #expect(Health(now: now, heartbeats: [9 * second, now], isDraining: false) == .healthy)
    }

    @Test("a beat older than a second names its worker")
    func stuck() {
        let health = Health(
            now: 10 * second, heartbeats: [10 * second, 9 * second - 1], isDraining: false)
        #expect(health == .stuck(workers: [1]))
        #expect(!health.isHealthy)
        #expect(health.reason.contains("worker 1"))
    }

    @Test("a beat from the future is a beat")
    func future() {
        #expect(Health(now: second, heartbeats: [5 * second], isDraining: false) == .healthy)
    }

    @Test("draining wins over everything")
    func draining() {
        #expect(Health(now: 99 * second, heartbeats: [1], isDraining: true) == .draining)
    }
}

@Suite("Drain")
struct DrainTests {
    private var drain = Drain(limits: DrainLimits(), now: 0, packets: 100)

    private mutating func check(now: UInt64, packets: UInt64, _ expected: Bool) {
        let isOver = drain.isOver(now: now, packets: packets)
        #expect(isOver == expected)
    }

    @Test("lasts the minimum even without a packet")
    mutating func minimum() {
        check(now: 30 * second - 1, packets: 100, false)
        check(now: 30 * second, packets: 100, true)
    }

    @Test("goes on while packets come, and ends after five quiet seconds")
    mutating func idle() {
        check(now: 29 * second, packets: 101, false)
        check(now: 31 * second, packets: 101, false)
        check(now: 33 * second, packets: 102, false)
        check(now: 38 * second - 1, packets: 102, false)
        check(now: 38 * second, packets: 102, true)
    }

    @Test("ends at the timeout whatever comes")
    mutating func timeout() {
        var packets: UInt64 = 100
        for time in stride(from: 0, to: 350, by: 1) {
            packets += 1
            check(now: UInt64(time) * second, packets: packets, false)
        }
        check(now: 350 * second, packets: packets + 1, true)
    }
}

@Suite("Busy ratio")
struct BusySamplerTests {
    @Test("is the share of the time since the last sample, at most one")
    func share() {
        var sampler = BusySampler(now: 0, busy: [0, 0])
        let early = sampler.sample(now: second - 1, busy: [1, 1])
        #expect(early == nil)
        let first = sampler.sample(now: 2 * second, busy: [second, 3 * second])
        #expect(first == [0.5, 1])
        let later = sampler.sample(now: 3 * second, busy: [second, 3 * second])
        #expect(later == [0, 0])
    }
}
