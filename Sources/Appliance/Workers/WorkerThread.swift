import CSluice
import Configuration
import Dataplane
import Dispatch
import PacketIO
import Support
import Synchronization

/// The thread of one worker, as the control side sees it.
///
/// The thread opens its own sockets and memory, so that they lie on its CPU's node, and then
/// keeps step with the others: opened, then unprivileged, then released. It never returns memory
/// or sockets: they go with the process, so that port 6081 has a taker as long as it lives.
@usableFromInline
final class WorkerThread: Sendable {
    @usableFromInline let index: Int
    let cpu: Int
    @usableFromInline let counters: CounterBlock
    @usableFromInline let link: WorkerLink
    @usableFromInline let waker: Waker
    let facts = Mutex(Facts())

    private let isStopping = Atomic(false)
    private let opened = DispatchSemaphore(value: 0)
    private let mayDrop = DispatchSemaphore(value: 0)
    private let dropped = DispatchSemaphore(value: 0)
    private let mayRun = DispatchSemaphore(value: 0)
    private let running = DispatchSemaphore(value: 0)
    private let stopped = DispatchSemaphore(value: 0)
    private let failure = Mutex<Failure?>(nil)

    /// What start-up found out, for the log.
    struct Facts {
        var socket: Int32 = -1
        var ringBytes = 0
        var tableBytes = 0
    }

    /// - Parameter first: what the worker starts with.
    init(index: Int, cpu: Int, processor: ProcessorShape, first: Snapshot) throws(Failure) {
        self.index = index
        self.cpu = cpu
        do throws(IOFailure) {
            let node = sluice_node_of_cpu(Int32(cpu))
            counters = try CounterBlock(
                rules: processor.ruleNames.count, parts: processor.parts.count, node: node)
            link = try WorkerLink(parts: processor.parts, node: node)
            link.publish(first)
            waker = try Waker()
        } catch {
            throw Failure(error)
        }
    }

    @usableFromInline var node: Int32 { sluice_node_of_cpu(Int32(cpu)) }
    @usableFromInline var shouldStop: Bool { isStopping.load(ordering: .relaxed) }

    // ---- The control side.

    /// Starts the thread and waits until it has opened its sockets.
    func start(_ body: @escaping @Sendable (WorkerThread) throws -> Void) throws(Failure) {
        // Sound: the closure is kept alive until the thread takes it, which it does once.
        let run = unsafe Unmanaged.passRetained(ThreadBody { self.main(body) })
        var thread = pthread_t()
        let result = unsafe pthread_create(
            &thread, nil,
            {
                unsafe Unmanaged<ThreadBody>.fromOpaque($0!).takeRetainedValue().run(); return nil
            },
            run.toOpaque())
        guard result == 0 else { throw Failure(IOFailure("start a thread", errno: result)) }
        try wait(for: opened)
    }

    func dropPrivileges() throws(Failure) {
        mayDrop.signal()
        try wait(for: dropped)
    }

    /// Lets packets in.
    func release() throws(Failure) {
        mayRun.signal()
        try wait(for: running)
    }

    /// Waits until the thread has reached this step, or has failed.
    private func wait(for step: DispatchSemaphore) throws(Failure) {
        step.wait()
        if let failure = failure.withLock({ $0 }) { throw failure }
    }

    /// Asks the thread to stop; does not wait for a packet.
    func stop() {
        isStopping.store(true, ordering: .relaxed)
        waker.wake()
    }

    /// Waits for a stopping thread; false when it does not come.
    func join(seconds: Int) -> Bool {
        stopped.wait(timeout: .now() + .seconds(seconds)) == .success
    }

    // ---- The thread's side.

    private func main(_ body: (WorkerThread) throws -> Void) {
        // Sound: the name is a C string for the call, and is copied.
        unsafe sluice_name_thread("sluice-w\(index)")
        let result = sluice_pin(Int32(cpu))
        do {
            guard result == 0 else { throw IOFailure("pin worker to CPU \(cpu)", errno: result) }
            try body(self)
        } catch let error as IOFailure {
            fail(Failure(error))
        } catch let error as Failure {
            fail(error)
        } catch {
            fail(Failure(.config, "\(error)"))
        }
        stopped.signal()
    }

    private func fail(_ error: Failure) {
        failure.withLock { $0 = error }
        for step in [opened, dropped, running] { step.signal() }
    }

    @usableFromInline
    func noteOpen(socket: Int32, ring: Int, tables: Int) {
        facts.withLock { $0 = Facts(socket: socket, ringBytes: ring, tableBytes: tables) }
    }

    /// Called by the thread when its sockets are open: keeps step until packets may flow.
    @usableFromInline
    func keepStep() throws(Failure) {
        opened.signal()
        mayDrop.wait()
        let result = sluice_drop_capabilities()
        guard result == 0 else {
            throw Failure(IOFailure("drop capabilities", errno: result))
        }
        dropped.signal()
        mayRun.wait()
    }

    /// Called by the thread when packets may come.
    @usableFromInline
    func noteRunning() { running.signal() }
}

/// Carries a closure through pthread_create.
private final class ThreadBody {
    let run: () -> Void
    init(_ run: @escaping () -> Void) { self.run = run }
}
