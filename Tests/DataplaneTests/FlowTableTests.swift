import Dataplane
import SluiceTesting
import Testing
import Wire

@Suite("The flow table")
struct FlowTableTests {
    typealias Table = FlowTable<UInt64>

    static let fresh: UInt64 = 77

    static func key(_ number: Int, version: UInt8 = 4) -> FlowKey {
        FlowKey(
            endpoint: 1, version: version, protocolNumber: 6,
            source: IPv6Address(0, UInt64(number)), destination: IPv6Address(0, 1 << 40),
            sourcePort: 1, destinationPort: 2, isFragment: false)
    }

    static func table(_ capacity: Int, seed: UInt64 = 1) throws -> Table {
        try Table(capacity: capacity, node: -1, seed: seed, fresh: fresh)
    }

    // ---- Against a model.

    private struct Entry {
        var lastSeen, idle: UInt64
        var cookie: UInt32
        var state: UInt64
        func isOver(_ now: UInt64) -> Bool { now - lastSeen > idle }
    }

    /// Random lookups, state changes, closes and sweeps; room enough that no bucket fills up.
    @Test(arguments: 1...6 as ClosedRange<UInt64>)
    func `it behaves as a dictionary with idle times does`(seed: UInt64) throws {
        var random = SeededGenerator(seed: seed)
        var table = try Self.table(1 << 13, seed: seed)
        var model: [Int: Entry] = [:]
        var now: UInt64 = 1000
        for _ in 0..<5000 {
            now += UInt64.random(in: 0...20, using: &random)
            if Int.random(in: 0..<50, using: &random) == 0 {
                let over = model.filter { $0.value.isOver(now) }
                #expect(table.sweep(buckets: table.capacity / 8, now: now) == over.count)
                for number in over.keys { model[number] = nil }
                #expect(table.live == model.count)
                continue
            }
            let number = Int.random(in: 0..<300, using: &random)
            let idle = UInt64.random(in: 100...3000, using: &random)
            let cookie = UInt32.random(in: 0...20, using: &random) / 20
            let found = table.find(Self.key(number), cookie: cookie, now: now, idle: idle)

            let known = model[number]
            let isExpired = known?.isOver(now) ?? false
            let isCookieChange = known.map { !isExpired && $0.cookie != cookie } ?? false
            try #require(!found.isEvicted)
            try #require(found.isNew == (known == nil || isExpired))
            try #require(found.isExpired == isExpired)
            try #require(found.isCookieChange == isCookieChange)
            var entry = known ?? Entry(lastSeen: now, idle: idle, cookie: cookie, state: Self.fresh)
            if isExpired { entry.state = Self.fresh }
            if isExpired || isCookieChange { entry.idle = idle }
            (entry.lastSeen, entry.cookie) = (now, cookie)
            try #require(table[found.slot] == entry.state)

            entry.state = random.next()
            table[found.slot] = entry.state
            if Int.random(in: 0..<10, using: &random) == 0 {
                entry.idle = 50
                table.close(found.slot, idle: 50)
            }
            model[number] = entry
            try #require(table.live == model.count)
        }
    }

    /// Far more flows than room: the counts still add up, and what was just seen stays.
    @Test(arguments: [8, 16, 64])
    func `a small table evicts and never holds more than its capacity`(capacity: Int) throws {
        var random = SeededGenerator(seed: UInt64(capacity))
        var table = try Self.table(capacity)
        var (created, replaced, evicted, swept) = (0, 0, 0, 0)
        var now: UInt64 = 0
        for _ in 0..<5000 {
            now += UInt64.random(in: 0...20, using: &random)
            let number = Int.random(in: 0..<300, using: &random)
            let idle = UInt64.random(in: 0...1500, using: &random)
            let found = table.find(Self.key(number), cookie: 0, now: now, idle: idle)
            #expect((0..<capacity).contains(found.slot))
            #expect(!found.isEvicted || found.isNew)
            #expect(!(found.isEvicted && found.isExpired))
            if found.isNew { created += 1 }
            if found.isEvicted { evicted += 1 }
            if found.isExpired { replaced += 1 }
            let again = table.find(Self.key(number), cookie: 0, now: now, idle: idle)
            #expect(again.slot == found.slot && !again.isNew)
            if Int.random(in: 0..<50, using: &random) == 0 {
                swept += table.sweep(buckets: 1, now: now)
            }
            #expect(table.live <= capacity)
            #expect(table.live == created - evicted - replaced - swept)
        }
        #expect(evicted > 100 && replaced > 100)
        _ = table.sweep(buckets: capacity / 8, now: now + 10_000)
        #expect(table.live == 0)
    }

    // ---- Who makes room.

    @Test func `in a full bucket the flow idle longest makes room`() throws {
        var table = try Self.table(8)
        for number in 0..<8 {
            _ = table.find(Self.key(number), cookie: 0, now: UInt64(number), idle: 1000)
        }
        _ = table.find(Self.key(0), cookie: 0, now: 8, idle: 1000)
        let ninth = table.find(Self.key(8), cookie: 0, now: 9, idle: 1000)
        #expect(ninth.isNew && ninth.isEvicted)
        #expect(!table.find(Self.key(0), cookie: 0, now: 10, idle: 1000).isNew)
        #expect(table.find(Self.key(1), cookie: 0, now: 10, idle: 1000).isNew, "it had to go")
    }

    @Test func `a flow that is over makes room before any live one`() throws {
        var table = try Self.table(8)
        for number in 0..<8 {
            let found = table.find(Self.key(number), cookie: 0, now: UInt64(number), idle: 1000)
            if number == 5 { table.close(found.slot, idle: 10) }
        }
        let ninth = table.find(Self.key(8), cookie: 0, now: 100, idle: 1000)
        #expect(ninth.isExpired && !ninth.isEvicted)
        #expect(!table.find(Self.key(0), cookie: 0, now: 100, idle: 1000).isNew)
        #expect(table.live == 8)
    }

    // ---- One flow.

    @Test func `a flow is over one nanosecond after its idle time`() throws {
        var table = try Self.table(8)
        _ = table.find(Self.key(1), cookie: 0, now: 100, idle: 50)
        #expect(!table.find(Self.key(1), cookie: 0, now: 150, idle: 50).isNew)
        let late = table.find(Self.key(1), cookie: 0, now: 201, idle: 50)
        #expect(late.isNew && late.isExpired && !late.isEvicted)
        #expect(table.live == 1)
    }

    @Test func `an expired flow begins anew with fresh state`() throws {
        var table = try Self.table(8)
        let first = table.find(Self.key(1), cookie: 5, now: 0, idle: 50)
        table[first.slot] = 1
        let second = table.find(Self.key(1), cookie: 6, now: 51, idle: 50)
        #expect(table[second.slot] == Self.fresh)
        #expect(!second.isCookieChange, "it is another flow")
    }

    @Test func `a new cookie gives a closing flow its full time again`() throws {
        var table = try Self.table(8)
        let found = table.find(Self.key(1), cookie: 5, now: 0, idle: 1000)
        table.close(found.slot, idle: 10)
        #expect(table.find(Self.key(1), cookie: 6, now: 5, idle: 1000).isCookieChange)
        #expect(!table.find(Self.key(1), cookie: 6, now: 900, idle: 1000).isNew)
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
        for key in keys { #expect(table.find(key, cookie: 0, now: 0, idle: 9).isNew) }
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
                table.find(Self.key($0), cookie: 0, now: 0, idle: 9).slot
            }
        }
        #expect(try slots(1) == slots(1))
        #expect(try slots(1) != slots(2))
    }

    @Test func `a sweep goes round the whole table, some buckets at a time`() throws {
        var table = try Self.table(1 << 10)
        for number in 0..<300 {
            _ = table.find(Self.key(number), cookie: 0, now: 0, idle: UInt64(number % 3) * 100)
        }
        let live = table.live
        #expect((0..<128).map { _ in table.sweep(buckets: 1, now: 150) }.reduce(0, +) == 200)
        #expect(table.live == live - 200)
        #expect(table.sweep(buckets: 128, now: 150) == 0)
    }
}
