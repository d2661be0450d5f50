import Dataplane
import PacketIO

/// What the start of a worker asks of a backend beside the packet path.
protocol SocketBackend: PacketIO, ~Copyable {
    init(_ options: SocketOptions) throws(IOFailure)
    /// Lets packets in, once all workers have opened.
    func release() throws(IOFailure)
    var ringByteCount: Int { get }
}

extension UDPSocketIO: SocketBackend {}
extension RawSocketIO: SocketBackend {}

extension IOBackend {
    /// Starts a worker on this backend: the one place where the choice becomes a type.
    func start<Processor: PacketProcessor & ~Copyable>(
        _ thread: WorkerThread, _ processor: Processor.Type, _ plan: WorkerPlan
    ) throws(Failure) {
        switch self {
        case .udp: try thread.start { try serve(UDPSocketIO.self, processor, plan, $0) }
        case .raw: try thread.start { try serve(RawSocketIO.self, processor, plan, $0) }
        }
    }
}

/// What all workers have in common.
struct WorkerPlan: Sendable {
    var sockets: SocketOptions
    var settings: PathSettings
    var flowsPerWorker: Int
    var seed: UInt64
    var spins: Bool
}

/// The life of a worker thread: open, keep step, serve until told to stop.
private func serve<IO: SocketBackend & ~Copyable, Processor: PacketProcessor & ~Copyable>(
    _ backend: IO.Type, _ processor: Processor.Type, _ plan: WorkerPlan, _ thread: WorkerThread
) throws {
    var sockets = plan.sockets
    sockets.worker = thread.index
    sockets.node = thread.node
    sockets.waker = thread.waker
    let io = try IO(sockets)
    let ringBytes = io.ringByteCount
    // In memory that is never given back: see WorkerThread.
    let slot = UnsafeMutablePointer<Worker<IO, Processor>>.allocate(capacity: 1)
    slot.initialize(
        to: try Worker(
            index: thread.index, io: io, processor: try Processor(worker: thread.index),
            settings: plan.settings, flowCapacity: plan.flowsPerWorker, seed: plan.seed,
            counters: thread.counters, node: thread.node))
    let tableBytes = slot.pointee.byteCount
    thread.facts.withLock { $0 = .init(ringBytes: ringBytes, tableBytes: tableBytes) }
    try thread.keepStep()
    try slot.pointee.io.release()
    slot.pointee.run(spins: plan.spins) { thread.shouldStop }
}
