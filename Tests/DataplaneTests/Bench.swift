import Dataplane
import PacketIO
import SluiceTesting
import Testing
import Wire

/// What became of one packet.
enum Outcome: Equatable {
    case forwarded([UInt8])
    case dropped(DropReason)
}

/// One worker on memory. Every packet that goes through it is held to the counter identity.
struct Bench<Processor: PacketProcessor>: ~Copyable
where Processor.Configuration == NoConfiguration {
    var worker: Worker<MemoryIO, Processor>

    init(
        _ processor: Processor.Type = BlogPolicy.self, _ settings: PathSettings = PathSettings(),
        flowCapacity: Int = 64, io: consuming MemoryIO = MemoryIO()
    ) throws {
        let counters = try CounterBlock(Processor.self)
        worker = try Worker(
            index: 0, io: io, processor: Processor(worker: 0), settings: settings,
            flowCapacity: flowCapacity, seed: 1, counters: counters)
    }

    var counters: CounterBlock { worker.counters }

    /// Sends one packet through and says what became of it: exactly one counter moves.
    mutating func outcome(
        of packet: [UInt8], facts: FrameFacts = [],
        sourceLocation: SourceLocation = #_sourceLocation
    ) -> Outcome? {
        let before = Tally(counters)
        worker.io.enqueue(packet, facts: facts)
        let count = worker.runBurst()
        let (moved, frame) = (Tally(counters).since(before), worker.io.frames[0])
        let bytes = frame.isAnswer ? Int(frame.length) : 0
        let isOne = count == 1 && moved.isOnePacket(packet.count, answer: bytes)
        #expect(isOne, "\(moved)", sourceLocation: sourceLocation)
        guard frame.isAnswer else { return moved.dropReason.map { .dropped($0) } }
        return .forwarded(
            Array(UnsafeRawBufferPointer(start: frame.base, count: Int(frame.length))))
    }

    /// Runs bursts until nothing waits, and holds the totals to the identity.
    mutating func runDry(sourceLocation: SourceLocation = #_sourceLocation) {
        while worker.runBurst() != 0 {}
        let tally = Tally(counters)
        #expect(tally.isIdentity, "\(tally)", sourceLocation: sourceLocation)
    }

    mutating func enqueue(_ packets: [[UInt8]]) {
        for packet in packets { worker.io.enqueue(packet) }
    }
}

/// The counters that add up (what came in went out or was dropped), at one moment or between two.
struct Tally: Equatable {
    var received: UInt64
    var receivedBytes: UInt64
    var forwarded: UInt64
    var forwardedBytes: UInt64
    /// By raw value of the reason.
    var dropped: [UInt64]

    init(_ counters: CounterBlock) {
        received = counters.read(.packetsReceived)
        receivedBytes = counters.read(.bytesReceived)
        forwarded = counters.read(.packetsForwarded)
        forwardedBytes = counters.read(.bytesForwarded)
        dropped = DropReason.allCases.map { counters.read($0) }
    }

    /// received = forwarded + Σ dropped by reason.
    var isIdentity: Bool { received == forwarded + dropped.reduce(0, +) }

    var dropReason: DropReason? {
        dropped.firstIndex { $0 != 0 }.flatMap { DropReason(rawValue: UInt8($0)) }
    }

    func since(_ earlier: Tally) -> Tally {
        var difference = self
        difference.received -= earlier.received
        difference.receivedBytes -= earlier.receivedBytes
        difference.forwarded -= earlier.forwarded
        difference.forwardedBytes -= earlier.forwardedBytes
        for i in dropped.indices { difference.dropped[i] -= earlier.dropped[i] }
        return difference
    }

    func isOnePacket(_ bytes: Int, answer: Int) -> Bool {
        received == 1 && isIdentity && receivedBytes == bytes && forwardedBytes == answer
            && (forwarded == 1) == (answer > 0)
    }
}

/// What a fresh blog policy makes of a packet; the same policy as rules must make the same of it.
func blog(
    _ packet: PacketBuilder, _ settings: PathSettings = PathSettings(), facts: FrameFacts = [],
    sourceLocation: SourceLocation = #_sourceLocation
) throws -> Outcome? {
    var bench = try Bench(BlogPolicy.self, settings)
    var rules = try RuleBench(blogSnapshot, settings)
    let outcome = bench.outcome(of: packet.bytes(), facts: facts, sourceLocation: sourceLocation)
    #expect(
        rules.outcome(of: packet.bytes(), facts: facts) == outcome, "the same rules, compiled",
        sourceLocation: sourceLocation)
    return outcome
}

/// Settings that differ from the default in one way.
func settings(_ change: (inout PathSettings) -> Void) -> PathSettings {
    var settings = PathSettings()
    change(&settings)
    return settings
}

/// A packet as it comes back untouched: the outer addresses swapped, one hop less, and the header
/// checksum updated by RFC 1624 §3 (RFC 1141 §2 with its correction for zero).
func turned(_ packet: [UInt8], hops: UInt8 = 1) -> [UInt8] {
    var packet = packet
    for i in 12..<16 { packet.swapAt(i, i + 4) }
    guard hops > 0 else { return packet }
    packet[8] -= hops
    var sum = UInt32(packet[10]) << 8 + UInt32(packet[11]) + UInt32(hops) << 8
    if sum >= 0xFFFF { sum += 1 }
    packet[10] = UInt8(truncatingIfNeeded: sum >> 8)
    packet[11] = UInt8(truncatingIfNeeded: sum)
    return packet
}

/// The answer to a packet: the outer addresses swapped, one hop less; with another inner packet every length
/// and checksum made anew, and what trailed the old one gone.
func answer(to packet: PacketBuilder, _ inner: [UInt8]? = nil) -> Outcome {
    var answer = packet
    (answer.source, answer.destination) = (packet.destination, packet.source)
    answer.timeToLive -= 1
    if let inner {
        answer.inner = inner
        answer.trailing = []
    }
    return .forwarded(answer.bytes())
}

extension Outcome? {
    /// It came back, and nothing but the outer addresses differs.
    func isUntouched(_ packet: PacketBuilder) -> Bool { self == answer(to: packet) }
}

/// Text as bytes.
func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }
