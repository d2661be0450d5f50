import Configuration
import Dataplane
import PacketIO

/// What a worker thread does, with backend and processor already chosen.
public struct WorkerBody: Sendable {
    public let shape: ProcessorShape
    /// Bytes of a worker's tables, by the number of entries of its flow table.
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
    // In memory that is never given back: see WorkerThread. Sound: it is initialized here and
    // belongs to this thread alone.
    let slot = UnsafeMutablePointer<Worker<IO, Processor>>.allocate(capacity: 1)
    try unsafe slot.initialize(
        to: Worker(
            index: thread.index, io: io, link: thread.link, flowCapacity: plan.flowsPerWorker,
            seed: plan.seed, counters: thread.counters, node: thread.node))
    thread.noteOpen(socket: socket, ring: ringBytes, tables: unsafe slot.pointee.byteCount)
    try thread.keepStep()
    try unsafe slot.pointee.io.release()
    thread.noteRunning()
    unsafe slot.pointee.run(spins: plan.spins, patience: plan.patience) { thread.shouldStop }
}
