import SluiceCore
import SluiceTesting

/// The parts of the packet loop one by one, for tools/micro: callgrind counts inside functions
/// named measured… and dumps at `dumpMark`. Each case prints its name and how many items it worked on.
@main
enum Micro {
    static func main() throws {
        try parse()
        hash()
        for flows in [1_000, 10_000, 100_000, 1_000_000] { try lookup(flows: flows) }
        for size in [20, 100, 1472, 8472] { checksum(size) }
        for size in [100, 1472, 8472] { search(size) }
        try rewrite("rewrite-128", payload: weakly(100, every: 100))
        try rewrite("rewrite-1500", payload: weakly(1472, every: 1472))
        try rewrite("rewrite-1500-by-100", payload: weakly(1472, every: 100))
        for burst in [1, 8, 64] { try bursts(of: burst) }
    }

    static func report(_ name: String, _ items: Int) {
        dumpMark()
        print(name, items)
    }

    static func text(_ count: Int) -> [UInt8] { (0..<count).map { UInt8(97 + $0 % 23) } }

    /// `weakly typed` at the start of every `every` bytes.
    static func weakly(_ count: Int, every: Int) -> [UInt8] {
        var bytes = text(count)
        for at in stride(from: 0, to: count - 11, by: every) {
            bytes.replaceSubrange(at..<(at + 12), with: Array("weakly typed".utf8))
        }
        return bytes
    }

    /// A burst of packets of 64 flows.
    static func makeIO(_ payload: [UInt8], burst: Int = 64) -> MemoryIO {
        var io = MemoryIO(burst: burst, placement: .exact(growth: 256), recordingSize: 0)
        for i in 0..<64 {
            let inner = PacketBuilder.udp4(20_000 + UInt16(i), 4001, payload)
            io.enqueue(PacketBuilder(inner).bytes(), facts: .headerVerified)
        }
        return io
    }

    static func makeWorker<P: PacketProcessor>(
        _ processor: P.Type, _ io: consuming MemoryIO
    ) throws -> Worker<MemoryIO, P> where P.Configuration == NoConfiguration {
        try Worker(
            index: 0, io: io, processor: P(worker: 0), settings: PathSettings(),
            flowCapacity: 4096, seed: 1, counters: CounterBlock(rules: 0, node: -1))
    }

    // ---- The cases.

    static func parse() throws {
        var io = makeIO(text(100))
        _ = io.receive()
        measuredParse(io.frames, 64)
        report("parse", 64)
    }

    static func hash() {
        let keys = makeKeys(1024)
        sink(measuredHash(keys))
        report("hash", keys.count)
        var packet = PacketBuilder(PacketBuilder.udp4(1, 2, text(100))).bytes()
        withPacketView(&packet) { sink(measuredSteering($0, 1024)) }
        report("steering", 1024)
    }

    static func lookup(flows: Int) throws {
        let keys = makeKeys(flows)
        var capacity = 1024
        // Two flows to a bucket of eight: hardly one is evicted.
        while capacity < flows * 4 { capacity *= 2 }
        var table = try FlowTable(capacity: capacity, node: -1, seed: 1, fresh: NoFlowState())
        for key in keys { _ = table.find(key, cookie: 1, now: 1) }
        let sample = min(flows, 10_000)
        sink(measuredLookup(&table, Array(keys[..<sample])))
        report("lookup-\(flows)", sample)
    }

    static func makeKeys(_ count: Int) -> [FlowKey] {
        var random = SplitMix64(seed: 1)
        return (0..<count).map { _ in
            let bits = random.next()
            return FlowKey(
                endpoint: 1, version: 4, protocolNumber: 17,
                source: IPv6Address(0, bits & 0xFFFF_FFFF),
                destination: IPv6Address(0, bits >> 32),
                sourcePort: UInt16(truncatingIfNeeded: random.next()), destinationPort: 443,
                isFragment: false)
        }
    }

    static func checksum(_ size: Int) {
        var bytes = text(size)
        withPacketView(&bytes) { sink(measuredChecksum($0, 100)) }
        report("checksum-\(size)", 100)
    }

    static func search(_ size: Int) {
        let bytes = text(size)
        sink(measuredSearch(bytes, 100))
        report("search-\(size)", 100)
        sink(measuredEither(bytes, 100))
        report("search-two-\(size)", 100)
    }

    /// The cost of `replaceAll` is the difference to a worker that only looks.
    static func rewrite(_ name: String, payload: [UInt8]) throws {
        try rounds(name, Replace.self, payload)
        try rounds(name + "-less", PassThrough.self, payload)
    }

    static func rounds<P: PacketProcessor>(
        _ name: String, _ processor: P.Type, _ payload: [UInt8]
    ) throws where P.Configuration == NoConfiguration {
        var worker = try makeWorker(P.self, makeIO(payload))
        meetFlows(&worker)
        measuredRounds(&worker)
        report(name, 64)
    }

    /// A first round, not counted, makes the flows.
    static func meetFlows<P: PacketProcessor>(_ worker: inout Worker<MemoryIO, P>) {
        while worker.runBurst() > 0 {}
        worker.io.rewind()
    }

    static func bursts(of size: Int) throws {
        var worker = try makeWorker(PassThrough.self, makeIO(text(100), burst: size))
        meetFlows(&worker)
        measuredRounds(&worker)
        report("burst-\(size)", 64)
    }
}

/// Replaces in every packet.
struct Replace: PacketProcessor {
    init(configuration: NoConfiguration, worker: Int) {}

    mutating func process(
        _ packet: inout Packet, flow: inout NoFlowState, context: inout Context
    ) -> Verdict {
        _ = packet.replaceAll(Needle("weakly typed"), with: Needle("strongly typed"))
        return .forward
    }
}
