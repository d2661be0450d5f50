import CInspect
import Glibc
import SluiceCore
import SluiceTesting

/// The cost of the packet loop on memory, for tools/instructions and tools/test:
///
///     PacketCost count [ROUNDS]               run under callgrind, which counts inside
///                                             functions named measured…, and dumps at marks
///     PacketCost rules [ROUNDS]               the same with the rule engine
///     PacketCost allocations PACKETS [--leak] exit 1 when the loop allocates; --leak makes it
@main
enum PacketCost {
    static func main() throws {
        let arguments = CommandLine.arguments.dropFirst()
        let number = arguments.dropFirst().first.flatMap { Int($0) }
        switch arguments.first {
        case "count": for scene in Scene.all { try scene.count(rounds: number ?? 100) }
        case "rules": for scene in RuleScene.all { try scene.count(rounds: number ?? 10) }
        case "allocations":
            let counted = try Scene.allocations(
                packets: number ?? 1_000_000, leaks: arguments.last == "--leak")
            if counted > 0 { fail("the packet loop allocates memory") }
        default: fail("usage: PacketCost count|rules [ROUNDS] | allocations PACKETS [--leak]")
        }
    }

    static func fail(_ message: String) -> Never {
        print(message)
        exit(1)
    }
}

/// One kind of packet: a burst of 64 of them, each of another flow and from another port.
struct Scene: Sendable {
    let name: String
    let inner: @Sendable (UInt16) -> [UInt8]

    static let all = [
        Scene(name: "pass-128") { PacketBuilder.udp4($0, 4001, text(100)) },
        Scene(name: "pass6-128") { PacketBuilder.udp6($0, 4001, text(80)) },
        Scene(name: "pass-1500") { PacketBuilder.udp4($0, 4001, text(1472)) },
        Scene(name: "tcp-1500") { PacketBuilder.tcp4(443, $0, text(1460)) },
        Scene(name: "search-128") { PacketBuilder.udp4($0, 3000, text(100)) },
        Scene(name: "search-1500") { PacketBuilder.udp4($0, 3000, text(1472)) },
        Scene(name: "drop-128") { PacketBuilder.udp4($0, 3000, text(93) + Array("drop me".utf8)) },
        Scene(name: "rewrite-128") {
            PacketBuilder.udp4($0, 3000, Array("weakly typed".utf8) + text(88))
        },
        Scene(name: "rewrite-1500") {
            PacketBuilder.udp4($0, 3000, Array("weakly typed".utf8) + text(1460))
        },
    ]

    static func text(_ count: Int) -> [UInt8] { (0..<count).map { UInt8(97 + $0 % 23) } }

    func enqueue(_ io: inout MemoryIO) {
        for i in 0..<64 {
            var builder = PacketBuilder(inner(20_000 + UInt16(i)))
            builder.sourcePort = 1024 + UInt16(i)
            // Socket backends have verified the header; `raw` leaves the checksum to us.
            io.enqueue(builder.bytes(), facts: .headerVerified)
        }
    }

    static func makeIO() -> MemoryIO {
        MemoryIO(burst: 64, placement: .exact(growth: 64), recordingSize: 0)
    }

    /// As on a host that has the address to which the packets go.
    static func settings() -> PathSettings {
        var settings = PathSettings()
        settings.ownAddresses = OwnAddresses(room: 1)
        settings.ownAddresses.set(LocalAddresses(single: [0x0A4D_0002]))
        return settings
    }

    static func makeWorker(_ io: consuming MemoryIO) throws -> Worker<MemoryIO, BlogPolicy> {
        try Worker(
            index: 0, io: io, processor: BlogPolicy(worker: 0), settings: settings(),
            flowCapacity: 4096, seed: 1, counters: CounterBlock(rules: 3, node: -1))
    }

    /// Three figures, in this order: the worker on memory, memory alone (as many answers), and
    /// the same work in C, whose answers must be the same to the byte.
    func count(rounds: Int) throws {
        var io = Scene.makeIO()
        enqueue(&io)
        var worker = try Scene.makeWorker(io)
        // The first burst makes the flows.
        _ = worker.runBurst()
        for _ in 0..<rounds {
            worker.io.rewind()
            measuredWorker(&worker)
        }
        inspect_dump_mark()
        let answers = Scene.answers(worker.io)

        let isAnswer = unsafe worker.io.frames[0].isAnswer
        for _ in 0..<rounds {
            worker.io.rewind()
            measuredMemory(&worker.io, isAnswer)
        }
        inspect_dump_mark()

        guard let reference = unsafe inspect_new(4096, 1) else { PacketCost.fail("no memory") }
        defer { unsafe inspect_free(reference) }
        // Sound: inspect_frame is laid out as Frame is.
        let frames = unsafe UnsafeMutableRawPointer(worker.io.frames)
            .assumingMemoryBound(to: inspect_frame.self)
        for round in 0...rounds {
            worker.io.rewind()
            _ = worker.io.receive()
            if round == 0 {
                _ = unsafe inspect_burst(reference, frames, 64, worker.io.now())
            } else {
                _ = unsafe measured_inspect(reference, frames, 64, worker.io.now())
            }
        }
        inspect_dump_mark()
        guard Scene.answers(worker.io) == answers else {
            PacketCost.fail("\(name): C and Swift answer differently")
        }
        print(name, rounds * 64)
    }

    static func answers(_ io: borrowing MemoryIO) -> [[UInt8]?] {
        (0..<64).map { i in
            let frame = unsafe io.frames[i]
            guard frame.isAnswer else { return nil }
            return unsafe Array(
                UnsafeRawBufferPointer(start: frame.base, count: Int(frame.length)))
        }
    }

    /// Allocations while this number of packets goes through a worker: all scenes, and the example
    /// with names to log and to block.
    static func allocations(packets: Int, leaks: Bool) throws -> UInt64 {
        var io = makeIO()
        for scene in all { scene.enqueue(&io) }
        var worker = try makeWorker(io)
        let loop = allocations(&worker, packets, leaks: leaks)

        var names = EgressLogger.Configuration()
        names.blocked = ["example.org", "a.blocked.example"]
        var questions = makeIO()
        for scene in queries { scene.enqueue(&questions) }
        var logger = try Worker(
            index: 0, io: questions, processor: EgressLogger(configuration: names, worker: 0),
            settings: PathSettings(), flowCapacity: 4096, seed: 1,
            counters: CounterBlock(EgressLogger.self))
        let example = allocations(&logger, packets / 10, leaks: false)
        guard logger.counters.read(.processor) > 0 else { PacketCost.fail("no name was blocked") }
        return loop + example
    }

    /// DNS queries, for a name that is blocked and one that is not.
    private static let queries = ["www.Example.ORG", "www.example.net"].map { name in
        Scene(name: name) { port in
            let labels = name.split(separator: ".").flatMap { [UInt8($0.utf8.count)] + $0.utf8 }
            let head: [UInt8] = [0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]
            return PacketBuilder.udp4(port, 53, head + labels + [0, 0, 1, 0, 1])
        }
    }

    @inline(__always)
    private static func allocations<P: PacketProcessor & ~Copyable>(
        _ worker: inout Worker<MemoryIO, P>, _ packets: Int, leaks: Bool
    ) -> UInt64 {
        let before = inspect_allocations()
        while worker.counters.read(.packetsReceived) < packets {
            worker.io.rewind()
            while worker.runBurst() > 0 {}
            if leaks { leak() }
        }
        let counted = inspect_allocations() - before
        print(worker.counters.read(.packetsReceived), "packets,", counted, "allocations")
        return counted
    }
}

/// What the counter must see.
@inline(never) @_optimize(none)
func leak() { unsafe UnsafeMutableRawPointer.allocate(byteCount: 8, alignment: 8).deallocate() }

@inline(never)
func measuredWorker(_ worker: inout Worker<MemoryIO, BlogPolicy>) {
    while worker.runBurst() > 0 {}
}

@inline(never)
func measuredMemory(_ io: inout MemoryIO, _ isAnswer: Bool) {
    while true {
        let received = io.receive()
        guard received > 0 else { return }
        for i in 0..<received { unsafe io.frames[i].isAnswer = isAnswer }
        _ = io.transmit(received)
    }
}
