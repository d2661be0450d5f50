import Sluice
import SluiceTesting

// Run under callgrind, which counts inside functions named measured… and dumps at `dumpMark`.
// Prints the name of each processor and its packets: UDP of 128 bytes, of 64 flows, which every
// one of them forwards. Two figures for each: the worker on memory, and memory alone.

let rounds = 100

@inline(never) @_optimize(none)
func dumpMark() {}

@inline(never)
func measuredWorker<P: PacketProcessor & ~Copyable>(_ worker: inout Worker<MemoryIO, P>) {
    while worker.runBurst() > 0 {}
}

@inline(never)
func measuredMemory(_ io: inout MemoryIO) {
    while true {
        let received = io.receive()
        guard received > 0 else { return }
        // As many answers as the worker gave.
        for i in 0..<received { io.frames[i].isAnswer = true }
        _ = io.transmit(received)
    }
}

/// Inlined into the caller, so that the loop is compiled for the processor as `Appliance.main`
/// has it compiled.
@inline(__always)
func count<P: PacketProcessor & ~Copyable>(
    _ name: String, _ type: P.Type, _ configuration: P.Configuration
) throws {
    var io = MemoryIO(burst: 64, placement: .exact(growth: 64), recordingSize: 0)
    let payload = (0..<100).map { UInt8(97 + $0 % 23) }
    for i in 0..<64 {
        var packet = PacketBuilder(PacketBuilder.udp4(UInt16(20_000 + i), 4001, payload))
        packet.sourcePort = UInt16(1024 + i)
        io.enqueue(packet.bytes(), facts: .headerVerified)
    }
    let counters = try CounterBlock(type)
    var worker = try Worker(
        index: 0, io: io, processor: P(configuration: configuration, worker: 0),
        settings: PathSettings(), flowCapacity: 4096, seed: 1, counters: counters)
    // The first burst makes the flows.
    _ = worker.runBurst()
    for _ in 0..<rounds {
        worker.io.rewind()
        measuredWorker(&worker)
    }
    dumpMark()
    precondition(counters.read(.packetsForwarded) == UInt64((rounds + 1) * 64))
    for _ in 0..<rounds {
        worker.io.rewind()
        measuredMemory(&worker.io)
    }
    dumpMark()
    print(name, rounds * 64)
}

@main
enum Cost {
    static func main() throws {
        // The blog's first rule, for the rule engine.
        var rule = Rule("drop-me")
        rule.match.ports = [3000...3000]
        rule.match.payload = Match.Payload([Array("drop me".utf8)])
        rule.terminal = .drop
        var set = PolicySet()
        set.main.rules = [rule]
        let rules = Rules.Configuration(try PolicySnapshot(set, generation: 1, workers: 1))
        let logger = EgressLogger.Configuration()

        try count("BlogPolicy", BlogPolicy.self, NoConfiguration())
        try count("SizeHistogram", SizeHistogram.self, NoConfiguration())
        try count("EgressLogger", EgressLogger.self, logger)
        try count("Rules", Rules.self, rules)
        try count(
            "Chain", Chain<EgressLogger, Rules>.self,
            ChainConfiguration(first: logger, second: rules))
    }
}
