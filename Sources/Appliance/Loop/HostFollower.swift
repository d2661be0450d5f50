import CSluice
import Dataplane
import PacketIO
import Support

/// Keeps the workers' sockets, and the port sinks, at the interfaces and addresses that the host has.
struct HostFollower: ~Copyable {
    private let watch: HostWatch
    private let backend: BackendTraits
    /// By worker.
    private let sockets: [Int32]
    private let sink: Int32
    private let ownAddresses: OwnAddresses
    private var options: SocketOptions
    private var choice: InterfaceChoice
    /// What the sockets take; nil = nobody has told them yet.
    private var served: Served?
    /// Served interfaces that merge packets, which the backend would lose; each with its remedy.
    private(set) var merging: [MergedPackets] = []
    private var isPending = true
    private var lastLook: UInt64 = 0
    private var hasFailed = false

    /// Routes may change many times a second, and each look asks the kernel for all it has.
    private static let interval: UInt64 = 100_000_000

    /// - Parameters:
    ///   - sink: the first sink of the port.
    ///   - ownAddresses: where workers read them.
    init(
        _ choice: InterfaceChoice, backend: BackendTraits, sockets: [Int32], sink: Int32,
        ownAddresses: OwnAddresses, options: SocketOptions
    ) throws(Failure) {
        do throws(IOFailure) {
            watch = try HostWatch()
        } catch {
            throw Failure(error)
        }
        self.choice = choice
        self.backend = backend
        self.sockets = sockets
        self.sink = sink
        self.ownAddresses = ownAddresses
        self.options = options
    }

    /// What should be served and is not there, in words.
    var missing: [String] { choice.missing }
    /// For the log.
    var names: String { choice.names.isEmpty ? "none" : choice.names.joined(separator: ", ") }

    /// What tells of a change at once, unless one has just been.
    var polled: [pollfd] {
        let isDue = sluice_monotonic_ns() &- lastLook > HostFollower.interval
        return isDue ? [pollfd(fd: watch.descriptor, events: Int16(POLLIN), revents: 0)] : []
    }

    /// True when other interfaces or addresses are served than before, or missing. Cheap when
    /// nothing has changed. What fails is tried again at the next call; it throws once.
    mutating func update() throws(IOFailure) -> Bool {
        if watch.hasChanged() { isPending = true }
        guard isPending else { return false }
        lastLook = sluice_monotonic_ns()
        do throws(IOFailure) {
            let hasChanged = try choice.look()
            if served != choice.served { try serve(choice.served) }
            try ownAddresses.set(LocalAddresses(onLoopback: true))
            merging = backend.getsMergedPackets ? choice.names.compactMap(MergedPackets.init) : []
            isPending = false
            hasFailed = false
            return hasChanged
        } catch {
            guard !hasFailed else { return false }
            hasFailed = true
            throw error
        }
    }

    private mutating func serve(_ new: Served) throws(IOFailure) {
        options.served = new
        for (worker, socket) in sockets.enumerated() {
            options.worker = worker
            try backend.follow(socket, options)
        }
        if !backend.takesPort {
            try PortSink.divide(sink, served: new, address: options.address)
        }
        served = new
    }
}
