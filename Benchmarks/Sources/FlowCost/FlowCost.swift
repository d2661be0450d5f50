import SluiceCore

/// Lookups in flow tables that hold from a thousand to ten million flows, with the state of the
/// rule engine, for Benchmarks/flow-cost:
///
///     FlowCost TABLES CAPACITY FLOWS      prints flows, lookups, bytes per entry, flows in the
///                                         tables, and tenths of nanoseconds per lookup
///
/// callgrind counts inside functions named measured…. The flows are spread over the tables as
/// over workers; one thread looks up random flows in all of them, so that nothing but the tables
/// is in its way.
@main
enum FlowCost {
    static func main() throws {
        let numbers = CommandLine.arguments.dropFirst().compactMap { Int($0) }
        guard numbers.count == 3 else {
            print("usage: FlowCost TABLES CAPACITY FLOWS")
            return
        }
        let (count, capacity, flows) = (numbers[0], numbers[1], numbers[2])
        let tables = try (0..<count).map { index in
            Tables(
                try FlowTable(
                    capacity: capacity, node: -1, seed: UInt64(index) &+ 99, fresh: Rules.newFlow))
        }
        for number in 0..<flows {
            _ = tables[number % count].table.find(key(number), cookie: 1, now: 1)
        }
        var random = SplitMix64(seed: 7)
        let sample = (0..<100_000).map { _ in Int.random(in: 0..<flows, using: &random) }
        let keys = (0..<count).map { table in
            sample.filter { $0 % count == table }.map { key($0) }
        }
        let lookups = keys.reduce(0) { $0 + $1.count }
        var new = 0
        // The first round fetches what evicted flows need anew, and warms what can be warm.
        for (table, keys) in zip(tables, keys) { new += measured(&table.table, keys, now: 2) }
        var best = Duration.seconds(1000)
        for round in 0..<5 {
            let clock = ContinuousClock()
            let time = clock.measure {
                for (table, keys) in zip(tables, keys) {
                    _ = measured(&table.table, keys, now: UInt64(round) + 3)
                }
            }
            best = min(best, time)
        }
        let nanoseconds =
            Double(best.components.attoseconds) / 1e9 + Double(best.components.seconds) * 1e9
        let live = tables.reduce(0) { $0 + $1.table.live }
        let bytes = tables.reduce(0) { $0 + $1.table.byteCount }
        print(
            flows, lookups * 6, bytes / (count * capacity), live,
            Int(nanoseconds * 10 / Double(lookups)))
    }

    final class Tables {
        var table: FlowTable<RuleFlow>
        init(_ table: consuming FlowTable<RuleFlow>) { self.table = table }
    }

    static func key(_ number: Int) -> FlowKey {
        var random = SplitMix64(seed: UInt64(number))
        let bits = random.next()
        return FlowKey(
            endpoint: 1, version: 4, protocolNumber: 6,
            source: IPv6Address(0, bits & 0xFFFF_FFFF),
            destination: IPv6Address(0, bits >> 32),
            sourcePort: UInt16(truncatingIfNeeded: number), destinationPort: 443,
            isFragment: false)
    }

    @inline(never)
    static func measured(_ table: inout FlowTable<RuleFlow>, _ keys: [FlowKey], now: UInt64) -> Int
    {
        var new = 0
        for key in keys where table.find(key, cookie: 1, now: now).isNew {
            new &+= 1
        }
        return new
    }
}
