import Dataplane
import PacketIO

/// What all workers have in common.
@usableFromInline
struct WorkerPlan: Sendable {
    @usableFromInline var sockets: SocketOptions
    /// What a first snapshot has.
    @usableFromInline var settings: PathSettings
    @usableFromInline var flowsPerWorker: Int
    @usableFromInline var seed: UInt64
    @usableFromInline var spins: Bool
    /// How long a worker looks for packets before it sleeps, nanoseconds.
    @usableFromInline var patience: UInt64
}

/// What the control side must know of a processor, its type erased.
public struct ProcessorShape: Sendable {
    let ruleNames: [String]
    @usableFromInline let parts: [ProcessorPart]
    /// It decides by the section `policy`.
    public var hasRules: Bool { parts.contains(where: \.decidesByPolicy) }
    /// Reads and validates the configuration.
    let read: @Sendable (any Decoder) throws -> any Sendable
    /// A snapshot of what `read` gave.
    let makeSnapshot: @Sendable (any Sendable, PathSettings, UInt64) -> Snapshot

    public init<Processor: PacketProcessor & ~Copyable>(_ processor: Processor.Type) {
        ruleNames = Processor.ruleNames
        parts = Processor.parts
        read = { decoder in
            let configuration = try Processor.configuration(from: decoder)
            try Processor.validate(configuration)
            return configuration
        }
        makeSnapshot = { configuration, settings, generation in
            // What `read` gave.
            ProcessorSnapshot(
                configuration as! Processor.Configuration, settings: settings,
                generation: generation)
        }
    }
}

/// What a worker thread does, with backend and processor already chosen.
public struct WorkerBody: Sendable {
    public let shape: ProcessorShape
    /// Bytes of a flow table of so many entries.
    @usableFromInline let tableBytes: @Sendable (Int) -> Int
    @usableFromInline let serve: @Sendable (IOBackend, WorkerPlan, WorkerThread) throws -> Void

    /// The one place where the choice of a backend becomes a type. Inlinable down to the packet
    /// loop: the module that names the processor compiles the loop for it.
    @inlinable
    public init<Processor: PacketProcessor & ~Copyable>(_ processor: Processor.Type) {
        shape = ProcessorShape(processor)
        tableBytes = { [parts = shape.parts] in
            WorkerLink.byteCount(of: parts)
                + FlowTable<Processor.FlowState>.byteCount(capacity: $0)
        }
        serve = { backend, plan, thread in
            switch backend {
            case .packet: try serveWorker(PacketSocketIO.self, processor, plan, thread)
            case .udp: try serveWorker(UDPSocketIO.self, processor, plan, thread)
            case .raw: try serveWorker(RawSocketIO.self, processor, plan, thread)
            }
        }
    }
}

/// The life of a worker thread: open, keep step, serve until told to stop.
@inlinable
func serveWorker<IO: SocketBackend & ~Copyable, Processor: PacketProcessor & ~Copyable>(
    _ backend: IO.Type, _ processor: Processor.Type, _ plan: WorkerPlan, _ thread: WorkerThread
) throws {
    var sockets = plan.sockets
    sockets.worker = thread.index
    sockets.node = thread.node
    sockets.waker = thread.waker
    let io = try IO(sockets)
    let ringBytes = io.ringByteCount
    let socket = io.socketDescriptor
    // In memory that is never given back: see WorkerThread.
    let slot = UnsafeMutablePointer<Worker<IO, Processor>>.allocate(capacity: 1)
    slot.initialize(
        to: try Worker(
            index: thread.index, io: io, link: thread.link, flowCapacity: plan.flowsPerWorker,
            seed: plan.seed, counters: thread.counters, node: thread.node))
    thread.noteOpen(socket: socket, ring: ringBytes, tables: slot.pointee.byteCount)
    try thread.keepStep()
    try slot.pointee.io.release()
    thread.noteRunning()
    slot.pointee.run(spins: plan.spins, patience: plan.patience) { thread.shouldStop }
}
