import SluiceCore

/// One worker with a processor on memory: for unit tests of a user's own processor.
///
///     var bench = try ProcessorBench(MyProcessor.self, configuration: …)
///     let answer = bench.send(PacketBuilder(PacketBuilder.udp4(40_000, 53, query)))
///     #expect(answer == nil && bench.dropReason == .processor)
@safe public struct ProcessorBench<Processor: PacketProcessor & ~Copyable>: ~Copyable {
    public var worker: Worker<MemoryIO, Processor>
    private let link: WorkerLink
    private var snapshot: ProcessorSnapshot<Processor.Configuration>
    /// Why the packet that was sent last did not come back; nil when it did.
    public private(set) var dropReason: DropReason?

    /// - Throws: ENOMEM, and what the processor throws.
    public init(
        _ type: Processor.Type, configuration: Processor.Configuration,
        settings: PathSettings = PathSettings(), flowCapacity: Int = 64
    ) throws {
        let snapshot = ProcessorSnapshot(configuration, settings: settings, generation: 1)
        let link = try WorkerLink(type)
        link.publish(snapshot)
        let worker = try Worker<MemoryIO, Processor>(
            index: 0, io: MemoryIO(), link: link, flowCapacity: flowCapacity, seed: 1,
            counters: CounterBlock(type))
        self.snapshot = snapshot
        self.link = link
        self.worker = worker
    }

    // Sound: the worker goes with the bench, and nobody else has the link.
    deinit { unsafe link.free() }

    /// What comes back for a packet, from the outer IPv4 header on; nil when it was dropped.
    public mutating func send(_ packet: PacketBuilder) -> [UInt8]? {
        let before = DropReason.allCases.map { worker.counters.read($0) }
        worker.io.enqueue(packet.bytes())
        _ = worker.runBurst()
        let frame = unsafe worker.io.frames[0]
        dropReason = zip(DropReason.allCases, before).first { worker.counters.read($0) > $1 }?.0
        guard dropReason == nil, frame.isAnswer else { return nil }
        // Sound: the frame's bytes stay until the next burst.
        return unsafe Array(
            UnsafeRawBufferPointer(start: frame.base, count: Int(frame.length)))
    }

    /// What the processor costs: the time that the packet loop takes for a packet, without that
    /// of the memory that stands for a socket. Only a release build tells
    /// (`swift test -c release`), and only beside another figure of the same machine: measure
    /// `PassThrough` as well.
    ///
    /// - Parameters:
    ///   - packets: played over and over, 64 in a burst.
    ///   - rounds: of all packets; the fastest one counts.
    /// - Returns: nanoseconds for a packet.
    // Inlined, so that the loop is compiled for the processor, as `Appliance.main` has it compiled.
    @inlinable @inline(__always)
    public static func nanosecondsPerPacket(
        _ type: Processor.Type, configuration: Processor.Configuration, _ packets: [PacketBuilder],
        settings: PathSettings = PathSettings(), rounds: Int = 2000
    ) throws -> Double {
        precondition(!packets.isEmpty && rounds > 0, "nothing to measure")
        var io = MemoryIO(recordingSize: 0)
        // As socket backends, which have verified the header.
        for packet in packets { io.enqueue(packet.bytes(), facts: .headerVerified) }
        var worker = try Worker(
            index: 0, io: io, processor: Processor(configuration: configuration, worker: 0),
            settings: settings, flowCapacity: 4096, seed: 1, counters: CounterBlock(type))
        var (loop, memory) = (Duration.seconds(1000), Duration.seconds(1000))
        let clock = ContinuousClock()
        for _ in 0..<rounds {
            worker.io.rewind()
            loop = min(loop, clock.measure { while worker.runBurst() > 0 {} })
            worker.io.rewind()
            memory = min(memory, clock.measure { worker.io.playBack() })
        }
        return max(0, (loop - memory) / .nanoseconds(1)) / Double(packets.count)
    }

    /// Hands another configuration to the worker, as a reload does.
    public mutating func reload(_ configuration: Processor.Configuration) throws {
        try Processor.validate(configuration)
        let next = ProcessorSnapshot(
            configuration, settings: snapshot.settings, generation: snapshot.generation + 1)
        link.publish(next)
        _ = worker.runBurst()
        snapshot = next
    }

    /// What the processor has counted.
    public func count(of counter: Processor.Counter) -> UInt64 {
        let named = ProcessorPart(Processor.self).counters.first { $0.name == "\(counter)" }
        return named.map { worker.counters.read(part: 0, slot: $0.slot) } ?? 0
    }

    /// Lets the processor handle what it has emitted; what it writes to the log.
    public func handleEvents() -> [String] {
        var lines: [String] = []
        link.takeEvents(Processor.parts, log: EventLog { line, _ in lines.append(line) })
        return lines
    }

    /// Events that were lost because nobody took them.
    public var lostEvents: UInt64 {
        (0..<worker.counters.partCount).reduce(0) { $0 + worker.counters.readEvents(part: $1).lost }
    }
}
