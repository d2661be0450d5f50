import CSluice
import Wire

/// Backend `raw`: AF_INET SOCK_RAW sockets, one a worker, each with a classic BPF filter that
/// accepts the worker's share of the flow hash.
///
/// Every raw socket is offered every packet (raw sockets have no SO_REUSEPORT balancing), which
/// costs about 0.27 µs per packet and further socket: a backend for few workers. A `PortSink`
/// must live as long as any of them.
@safe public struct RawSocketIO: SocketBackend, ~Copyable {
    public static let traits = BackendTraits(
        socket: SocketKind(
            family: AF_INET, type: Int32(SOCK_RAW.rawValue), protocolNumber: Int32(IPPROTO_UDP),
            name: "a raw socket"),
        steersByCPU: false, needsInterfaces: false, usesDropHook: false,
        getsMergedPackets: true, takesPort: false,
        offersAllToEach: true, slotOverhead: BurstReceiver.headroom,
        memory: BurstReceiver.memory, follow: RawSocketIO.follow)

    private var receiver: BurstReceiver
    private var sender: BurstSender
    private let table: FixedTable<Frame>
    private let options: SocketOptions

    /// Opens the sockets behind a drop-all filter.
    public init(_ options: SocketOptions) throws(IOFailure) {
        _ = try options.servedNow()
        let socket = try RawSocketIO.traits.socket.open()
        try socket.attach(Steering.dropAll, "the drop-all filter")
        try socket.prepareForBursts(options)
        if options.address != 0 {
            try socket.bind(address: options.address, port: 0, "bind the raw socket")
        }
        RawSocketIO.drain(socket.raw)
        let receiver = try BurstReceiver(socket: socket, options)
        let sender = try BurstSender(options)
        table = unsafe FixedTable(
            count: options.burst,
            repeating: Frame(base: receiver.ring.slot(0), length: 0, room: 0))
        self.options = options
        self.receiver = receiver
        self.sender = sender
    }

    /// Throws away what arrived between socket() and the filter.
    private static func drain(_ socket: Int32) {
        var byte: UInt8 = 0
        while unsafe recv(socket, &byte, 1, Int32(MSG_DONTWAIT)) >= 0 {}
    }

    /// Lets this worker's share in: replaces the drop-all filter in one step.
    public mutating func release() throws(IOFailure) {
        receiver.startCountingDrops()
        try RawSocketIO.follow(receiver.socket.raw, options)
    }

    private static func follow(_ socket: Int32, _ options: SocketOptions) throws(IOFailure) {
        try Steering.filter(
            worker: options.worker, workers: options.workers, hash: options.steering.hash,
            served: options.servedNow().interfaces
        ).attach(to: socket, SOL_SOCKET, SO_ATTACH_FILTER, "the steering filter")
    }

    public var frames: UnsafeMutablePointer<Frame> { unsafe table.pointer() }
    public var burstCapacity: Int { table.count }
    public var kernelDrops: UInt64 { mutating get { receiver.kernelDrops } }
    public var ringByteCount: Int { receiver.ring.byteCount }
    public var socketDescriptor: Int32 { receiver.socket.raw }

    #if !DEBUG
        @_noLocks
    #endif
    public mutating func receive() -> Int {
        var taken = 0
        let frames = unsafe table.pointer()
        let slots = unsafe receiver.ring.slot(0)
        let slotSize = receiver.ring.slotSize
        let result = receiver.receive { datagram in
            let offset = datagram.index &* slotSize &+ BurstReceiver.headroom
            let room = slotSize &- BurstReceiver.headroom
            unsafe frames[taken] = Frame(
                base: slots + offset, length: Int32(truncatingIfNeeded: datagram.length),
                room: Int32(truncatingIfNeeded: room),
                facts: datagram.isTruncated
                    ? .headerVerified.union(.truncated) : .headerVerified)
            taken &+= 1
        }
        return result < 0 ? result : taken
    }

    #if !DEBUG
        @_noLocks
    #endif
    public mutating func transmit(_ count: Int) -> TransmitReport {
        for i in 0..<count {
            let frame = unsafe table.pointer(i).pointee
            if frame.isAnswer { sender.add(frame) }
        }
        return sender.flush()
    }

    public mutating func wait(milliseconds: Int32) { receiver.wait(milliseconds: milliseconds) }
    public mutating func pause(milliseconds: Int32) { receiver.pause(milliseconds: milliseconds) }
    public mutating func now() -> UInt64 { sluice_monotonic_ns() }
}
