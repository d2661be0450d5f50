import Dataplane
import RuleEngine
import SluiceTesting
import Testing
import Wire

@Suite("The flow table")
struct FlowTableTests {
    typealias Table = FlowTable<UInt64>

    static let fresh: UInt64 = 77

    static func key(_ number: Int, isTCP: Bool = true) -> FlowKey {
        FlowKey(
            endpoint: 1, version: 4, protocolNumber: isTCP ? 6 : 17,
            source: IPv6Address(0, UInt64(number)), destination: IPv6Address(0, 1 << 40),
            sourcePort: 1, destinationPort: 2, isFragment: false)
    }

    static func table(_ capacity: Int, seed: UInt64 = 1, idle: UInt64 = 1000) throws -> Table {
        try Table(
            capacity: capacity, node: -1, seed: seed, fresh: fresh,
            lifetimes: FlowLifetimes(all: idle))
    }

    // ---- Against a model.

    /// A flow in plain terms.
    private struct Entry {
        enum Side: Hashable { case low, high }
        var lastSeen: UInt64
        var cookie: UInt32
        var state = FlowTableTests.fresh
        var isTCP: Bool
        var isReset = false
        /// Who opened it, as long as the other side is silent.
        var unanswered: Side?
        var finished: Set<Side> = []

        var isClosed: Bool { isReset || finished.count == 2 }

        func lifetime(_ times: FlowLifetimes) -> UInt64 {
            if isClosed { return times.closed }
            if !finished.isEmpty { return times.halfClosed }
            if unanswered != nil { return times.opening }
            return isTCP ? times.open : times.other
        }

        func left(_ now: UInt64, _ times: FlowLifetimes) -> Int {
            Int(lifetime(times)) - (Int(now) - Int(lastSeen))
        }

        /// True when it begins anew.
        mutating func see(_ flags: UInt8, from side: Side, isNew: Bool) -> Bool {
            let (fin, syn, rst, ack) =
                (flags & 1 != 0, flags & 2 != 0, flags & 4 != 0, flags & 16 != 0)
            if rst {
                isReset = true
                return false
            }
            var begins = false
            if syn, !ack, !fin, isNew || isClosed {
                begins = !isNew
                self = Entry(lastSeen: lastSeen, cookie: cookie, isTCP: true)
                unanswered = side
            } else if unanswered != side {
                unanswered = nil
            }
            if fin, !isClosed { finished.insert(side) }
            return begins
        }
    }

    /// Everything that can happen to a table: lookups of old and new flows, cookies that change, TCP
    /// in any order of flags, sweeps, other idle times, a clock that jumps forward and steps back,
    /// and buckets that are full, with eviction and without. With eight slots there is one bucket,
    /// and the model knows who must go; the large table never fills a bucket.
    @Test(arguments: [8, 1 << 13], 1...6 as ClosedRange<UInt64>)
    func `it behaves as a dictionary of flows does`(capacity: Int, seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        var table = try Self.table(capacity, seed: seed)
        var times = Self.times(&random)
        table.lifetimes = times
        var model: [Int: Entry] = [:]
        var now: UInt64 = 1_000_000
        var (evictions, refusals, expiries, begun) = (0, 0, 0, 0)
        for _ in 0..<8000 {
            now += UInt64.random(in: 1...40, using: &random)
            switch Int.random(in: 0..<400, using: &random) {
            case 0: now += UInt64.random(in: 0...20_000, using: &random)
            case 1: now -= UInt64.random(in: 0...500, using: &random)
            case 2:
                times = Self.times(&random)
                table.lifetimes = times
            case 3: table.evictsLiveFlows.toggle()
            case 4...7:
                let over = model.filter { $0.value.left(now, times) < 0 }
                try #require(table.sweep(buckets: capacity / 8, now: now) == over.count)
                for number in over.keys { model[number] = nil }
            default: break
            }
            let number = Int.random(in: 0..<(capacity == 8 ? 20 : 60), using: &random)
            let cookie = UInt32.random(in: 0...20, using: &random) / 20
            let isTCP = number % 4 != 0

            // What must come of it.
            var known = model[number]
            var (isNew, isExpired, isEvicted, isChange) = (known == nil, false, false, false)
            if let entry = known {
                let isOver = entry.left(now, times) < 0
                isChange = !isOver && entry.cookie != cookie
                isExpired = isOver || isChange && entry.isClosed
                isNew = isExpired
                if isExpired { known = nil }
            } else if capacity == 8, model.count == 8 {
                let order = model.sorted { $0.value.left(now, times) < $1.value.left(now, times) }
                let (first, second) = (order[0], order[1].value.left(now, times))
                // Of two that end together either may go: the model cannot tell.
                let left = first.value.left(now, times)
                guard left != second else { continue }
                isExpired = left < 0
                var goes = first.key
                if left >= 0, !table.evictsLiveFlows {
                    let closed = model.filter { $0.value.isClosed }
                        .sorted { $0.value.lastSeen < $1.value.lastSeen }
                    if closed.count > 1, closed[0].value.lastSeen == closed[1].value.lastSeen {
                        continue
                    }
                    goes = closed.first?.key ?? -1
                }
                if goes < 0 {
                    let found = table.find(
                        Self.key(number, isTCP: isTCP), cookie: cookie, now: now)
                    try #require(found.slot < 0 && found.isNew)
                    try #require(!found.isExpired && !found.isEvicted)
                    refusals += 1
                    continue
                }
                isEvicted = left >= 0
                model[goes] = nil
            }

            let found = table.find(
                Self.key(number, isTCP: isTCP), cookie: cookie, now: now)
            try #require(found.isNew == isNew)
            try #require(found.isExpired == isExpired)
            try #require(found.isEvicted == isEvicted)
            try #require(found.isCookieChange == isChange)
            if isEvicted { evictions += 1 }
            if isExpired { expiries += 1 }
            var entry = known ?? Entry(lastSeen: now, cookie: cookie, isTCP: isTCP)
            (entry.lastSeen, entry.cookie) = (now, cookie)
            if isTCP {
                let flags =
                    ([0x10, 0x10, 0x18, 0x02, 0x02, 0x12, 0x11, 0x11, 0x04, 0x03, 0x07] as [UInt8])
                    .randomElement(using: &random)!
                let isLow = Bool.random(using: &random)
                let begins = entry.see(flags, from: isLow ? .low : .high, isNew: isNew)
                if flags & 7 != 0 || found.isInRarePhase {
                    let isAnother =
                        TCPFlag.opens(flags)
                        && table.open(found.slot, isLow: isLow, isNew: isNew)
                    table.follow(found.slot, flags: flags, isLow: isLow)
                    try #require(isAnother == begins)
                } else {
                    try #require(!begins)
                }
                if begins { begun += 1 }
            }
            try #require(table[found.slot] == entry.state)
            try #require(times[table.phase(found.slot)] == entry.lifetime(times))
            entry.state = random.next()
            table[found.slot] = entry.state
            model[number] = entry
            try #require(table.live == model.count)
        }
        #expect(expiries > 20 && begun > (capacity == 8 ? 5 : 20))
        if capacity == 8 { #expect(evictions > 100 && refusals > 20) }
    }

    /// All different.
    private static func times(_ random: inout SeededGenerator) -> FlowLifetimes {
        var times = FlowLifetimes()
        times.other = UInt64.random(in: 5000...8000, using: &random)
        times.open = UInt64.random(in: 8001...16_000, using: &random)
        times.opening = UInt64.random(in: 1000...2000, using: &random)
        times.halfClosed = UInt64.random(in: 2001...4999, using: &random)
        times.closed = UInt64.random(in: 500...999, using: &random)
        return times
    }

    /// Far more flows than room in several buckets: the counts still add up.
    @Test(arguments: [8, 16, 64])
    func `a small table evicts and never holds more than its capacity`(capacity: Int) throws {
        var random = SeededGenerator(seed: UInt64(capacity))
        var table = try Self.table(capacity, idle: UInt64(capacity) * 40)
        var (created, replaced, evicted, swept) = (0, 0, 0, 0)
        var now: UInt64 = 0
        for _ in 0..<5000 {
            now += UInt64.random(in: 0...60, using: &random)
            let number = Int.random(in: 0..<300, using: &random)
            let found = table.find(Self.key(number), cookie: 0, now: now)
            #expect((0..<capacity).contains(found.slot))
            #expect(!found.isEvicted || found.isNew)
            #expect(!(found.isEvicted && found.isExpired))
            if found.isNew { created += 1 }
            if found.isEvicted { evicted += 1 }
            if found.isExpired { replaced += 1 }
            let again = table.find(Self.key(number), cookie: 0, now: now)
            #expect(again.slot == found.slot && !again.isNew)
            if Int.random(in: 0..<50, using: &random) == 0 {
                swept += table.sweep(buckets: 1, now: now)
            }
            #expect(table.live <= capacity)
            #expect(table.live == created - evicted - replaced - swept)
        }
        #expect(evicted > 20 && replaced + swept > 20)
        _ = table.sweep(buckets: capacity / 8, now: now + 10_000)
        #expect(table.live == 0)
    }

    // ---- Who makes room.

    @Test func `in a full bucket the flow idle longest makes room`() throws {
        var table = try Self.table(8)
        for number in 0..<8 { _ = table.find(Self.key(number), cookie: 0, now: UInt64(number)) }
        _ = table.find(Self.key(0), cookie: 0, now: 8)
        let ninth = table.find(Self.key(8), cookie: 0, now: 9)
        #expect(ninth.isNew && ninth.isEvicted)
        #expect(!table.find(Self.key(0), cookie: 0, now: 10).isNew)
        #expect(table.find(Self.key(1), cookie: 0, now: 10).isNew, "it had to go")
    }

    /// So that a flood of SYNs drives out its own kind.
    @Test func `a connection that nobody answered makes room before one idle for longer`() throws {
        var table = try Self.table(8)
        table.lifetimes = FlowLifetimes()
        for number in 0..<7 {
            _ = table.find(Self.key(number), cookie: 0, now: 0)
        }
        let second: UInt64 = 1_000_000_000
        for number in 7..<100 {
            let now = 200 * second + UInt64(number)
            let found = table.find(Self.key(number), cookie: 0, now: now)
            _ = table.open(found.slot, isLow: true, isNew: true)
            #expect(found.isEvicted == (number > 7))
        }
        for number in 0..<7 {
            #expect(!table.find(Self.key(number), cookie: 0, now: 201 * second).isNew)
        }
    }

    @Test func `told to keep live flows, a full bucket takes no new one`() throws {
        var table = try Self.table(8)
        table.evictsLiveFlows = false
        for number in 0..<8 { _ = table.find(Self.key(number), cookie: 0, now: UInt64(number)) }
        #expect(table.find(Self.key(8), cookie: 0, now: 9).slot < 0)
        #expect(!table.find(Self.key(0), cookie: 0, now: 9).isNew)
        #expect(table.live == 8)
        // Key 1 is over, and makes room.
        let late = table.find(Self.key(8), cookie: 0, now: 1002)
        #expect(late.slot >= 0 && late.isExpired && !late.isEvicted)
        #expect(table.live == 8)
    }

    // ---- One flow.

    @Test func `a flow is over one nanosecond after its idle time`() throws {
        var table = try Self.table(8, idle: 50)
        _ = table.find(Self.key(1), cookie: 0, now: 100)
        #expect(!table.find(Self.key(1), cookie: 0, now: 150).isNew)
        let late = table.find(Self.key(1), cookie: 0, now: 201)
        #expect(late.isNew && late.isExpired && !late.isEvicted)
        #expect(table.live == 1)
    }

    @Test func `an expired flow begins anew with fresh state`() throws {
        var table = try Self.table(8, idle: 50)
        let first = table.find(Self.key(1), cookie: 5, now: 0)
        table[first.slot] = 1
        let second = table.find(Self.key(1), cookie: 6, now: 51)
        #expect(table[second.slot] == Self.fresh)
        #expect(!second.isCookieChange, "it is another flow")
    }

    @Test func `a new cookie after the end of a flow begins another`() throws {
        var table = try Self.table(8)
        let found = table.find(Self.key(1), cookie: 5, now: 0)
        table[found.slot] = 1
        let open = table.find(Self.key(1), cookie: 6, now: 1)
        #expect(open.isCookieChange && !open.isNew && table[open.slot] == 1)
        table.follow(found.slot, flags: 4, isLow: true)
        let again = table.find(Self.key(1), cookie: 7, now: 5)
        #expect(again.isCookieChange && again.isNew && again.isExpired)
        #expect(table[again.slot] == Self.fresh && table.phase(again.slot) == .open)
        #expect(table.live == 1)
    }

    @Test func `other idle times reach flows that are in the table`() throws {
        var table = try Self.table(8, idle: 50)
        _ = table.find(Self.key(1), cookie: 0, now: 0)
        table.lifetimes.open = 500
        #expect(!table.find(Self.key(1), cookie: 0, now: 400).isNew)
        table.lifetimes.open = 10
        #expect(table.sweep(buckets: 1, now: 411) == 1)
    }

    // ---- Keys.

    @Test func `keys that differ in any part are different flows`() throws {
        let one = IPv6Address(1, 1)
        let two = IPv6Address(2, 2)
        func key(
            endpoint: UInt64 = 1, version: UInt8 = 4, number: UInt8 = 17,
            _ source: IPv6Address = one, _ destination: IPv6Address = two, port: UInt16 = 53,
            isFragment: Bool = false
        ) -> FlowKey {
            FlowKey(
                endpoint: endpoint, version: version, protocolNumber: number, source: source,
                destination: destination, sourcePort: 1024, destinationPort: port,
                isFragment: isFragment)
        }
        let keys = [
            key(), key(endpoint: 2), key(version: 6), key(number: 6), key(port: 54),
            key(IPv6Address(3, 1)), key(IPv6Address(1, 3)), key(one, IPv6Address(2, 3)),
            key(one, IPv6Address(3, 2)), key(isFragment: true), key(two, one),
        ]
        var table = try Self.table(1024)
        for key in keys { #expect(table.find(key, cookie: 0, now: 0).isNew) }
        #expect(table.live == keys.count)
    }

    @Test func `both directions are one key`() {
        var random = SeededGenerator(seed: 9)
        for _ in 0..<200 {
            let (a, b) = (IPv6Address(random.next() % 3, random.next() % 3), IPv6Address(1, 1))
            let (p, q) = (UInt16.random(in: 0...2, using: &random), UInt16(1))
            func key(_ a: IPv6Address, _ p: UInt16, _ b: IPv6Address, _ q: UInt16) -> FlowKey {
                FlowKey(
                    endpoint: 1, version: 6, protocolNumber: 6, source: a, destination: b,
                    sourcePort: p, destinationPort: q, isFragment: false)
            }
            #expect(key(a, p, b, q) == key(b, q, a, p))
            #expect(key(a, p, b, q).hash(seed: 5) == key(b, q, a, p).hash(seed: 5))
        }
    }

    @Test func `the seed decides where flows lie`() throws {
        func slots(_ seed: UInt64) throws -> [Int] {
            var table = try Self.table(1 << 10, seed: seed)
            return (0..<32).map {
                table.find(Self.key($0), cookie: 0, now: 0).slot
            }
        }
        #expect(try slots(1) == slots(1))
        #expect(try slots(1) != slots(2))
    }

    @Test func `a sweep goes round the whole table, some buckets at a time`() throws {
        var table = try Self.table(1 << 10, idle: 100)
        for number in 0..<300 {
            _ = table.find(Self.key(number), cookie: 0, now: number % 3 == 0 ? 140 : 0)
        }
        let live = table.live
        #expect((0..<128).map { _ in table.sweep(buckets: 1, now: 150) }.reduce(0, +) == 200)
        #expect(table.live == live - 200)
        #expect(table.sweep(buckets: 128, now: 150) == 0)
    }
}
