import Dataplane
import PacketIO

/// What all workers have in common.
@usableFromInline
struct WorkerPlan: Sendable {
    @usableFromInline var sockets: SocketOptions
    @usableFromInline var settings: PathSettings
    @usableFromInline var flowsPerWorker: Int
    @usableFromInline var seed: UInt64
    @usableFromInline var spins: Bool
    /// How long a worker looks for packets before it sleeps, nanoseconds.
    @usableFromInline var patience: UInt64
}

/// What a worker thread does, with backend and processor already chosen.
@usableFromInline
struct WorkerBody: Sendable {
    @usableFromInline let ruleNames: [String]
    /// Bytes of a flow table of so many entries.
    @usableFromInline let tableBytes: @Sendable (Int) -> Int
    @usableFromInline let serve: @Sendable (IOBackend, WorkerPlan, WorkerThread) throws -> Void

    /// The one place where the choice of a backend becomes a type. Inlinable down to the packet
    /// loop: the module that names the processor compiles the loop for it.
    @inlinable
    init<Processor: PacketProcessor & ~Copyable>(_ processor: Processor.Type) {
        self.init(processor) { try Processor(worker: $0) }
    }

    /// - Parameter make: makes the processor of a worker, on the worker's thread.
    @inlinable
    init<Processor: PacketProcessor & ~Copyable>(
        _ processor: Processor.Type, make: @escaping @Sendable (Int) throws -> Processor
    ) {
        ruleNames = Processor.ruleNames
        tableBytes = { FlowTable<Processor.FlowState>.byteCount(capacity: $0) }
        serve = { backend, plan, thread in
            switch backend {
            case .packet: try serveWorker(PacketSocketIO.self, plan, thread, make)
            case .udp: try serveWorker(UDPSocketIO.self, plan, thread, make)
            case .raw: try serveWorker(RawSocketIO.self, plan, thread, make)
            }
        }
    }
}

/// The life of a worker thread: open, keep step, serve until told to stop.
@inlinable
func serveWorker<IO: SocketBackend & ~Copyable, Processor: PacketProcessor & ~Copyable>(
    _ backend: IO.Type, _ plan: WorkerPlan, _ thread: WorkerThread,
    _ make: (Int) throws -> Processor
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
            index: thread.index, io: io, processor: try make(thread.index),
            settings: plan.settings, flowCapacity: plan.flowsPerWorker, seed: plan.seed,
            counters: thread.counters, node: thread.node))
    thread.noteOpen(socket: socket, ring: ringBytes, tables: slot.pointee.byteCount)
    try thread.keepStep()
    try slot.pointee.io.release()
    thread.noteRunning()
    slot.pointee.run(spins: plan.spins, patience: plan.patience) { thread.shouldStop }
}
