import CSluice
import Wire

/// How one worker's sockets are opened.
public struct SocketOptions: Sendable {
    /// Our address, host order; 0 = every local one.
    public var address: UInt32 = 0
    /// Only packets that arrive on these interfaces; empty = all.
    public var interfaces: [String] = []
    /// What is served of the host; nil = what `interfaces` and `address` are when it is asked for.
    public var served: Served?
    /// The first member of the workers' UDP sockets' group is there already: a `PortSink`.
    public var hasPortSink = false
    public var worker = 0
    public var workers = 1
    /// Packets per system call.
    public static let defaultBurst = 64
    public var burst = SocketOptions.defaultBurst
    /// Bytes of one slot.
    public var slotSize = 9216
    /// Bytes that may wait in the kernel's socket buffer.
    public var receiveBuffer = 4096 * 9216
    /// NUMA node of the worker, -1 = any.
    public var node: Int32 = -1
    /// Send a zero outer UDP checksum instead of computing one (`udp` backend).
    public var zeroOuterChecksum = false
    /// How packets find their worker (`packet` and `udp` backends).
    public var steering = Steering.Mode.hash(FlowHash())
    /// The group of the workers' packet sockets (`packet` backend).
    public var fanout = FanoutGroup()
    /// Send past the queueing discipline (`packet` backend).
    public var bypassesQdisc = true
    public var waker: Waker

    public init(waker: Waker) { self.waker = waker }

    /// Of several interfaces some may be missing: those match nothing.
    func servedNow() throws(IOFailure) -> Served {
        if let served { return served }
        // Sound: the names are C strings for the calls.
        let indices = interfaces.map { unsafe if_nametoindex($0) }
        if indices == [0] { throw IOFailure("bind to interface \(interfaces[0])", errno: ENODEV) }
        return try Served(interfaces: indices, address: address)
    }
}

/// One recvmmsg per burst into the slots of a buffer ring, with what the kernel says beside.
@safe public struct BurstReceiver: ~Copyable {
    /// Where packet bytes start in a slot: room in front for an outer header.
    public static var headroom: Int { 64 }
    private static var controlSize: Int { 128 }

    /// Slots for one burst; the packets that wait are in the socket's buffer.
    @Sendable static func memory(frames: Int, frameSize: Int, burst: Int) -> BackendMemory {
        BackendMemory(ring: burst * frameSize, socketBuffer: frames * frameSize)
    }

    public let socket: FileDescriptor
    public let ring: BufferRing
    private let messages: FixedTable<sluice_message>
    private let vectors: FixedTable<iovec>
    private let names: FixedTable<sockaddr_in>
    private let controls: BufferRing
    private let wake: Int32
    /// The socket's own drop counter: 32 bits that wrap.
    private var lastDrops: UInt32 = 0
    private var dropped: UInt64 = 0
    /// Datagrams that found no room in the socket's buffer.
    public var kernelDrops: UInt64 {
        mutating get {
            let drops = sluice_socket_drops(socket.raw)
            dropped &+= UInt64(drops &- lastDrops)
            lastDrops = drops
            return dropped
        }
    }

    /// - Throws: ENOMEM.
    public init(socket: consuming FileDescriptor, _ options: SocketOptions) throws(IOFailure) {
        let burst = options.burst
        let ring = try BufferRing(slots: burst, slotSize: options.slotSize, node: options.node)
        let controls = try BufferRing(
            slots: 1, slotSize: burst * BurstReceiver.controlSize, node: options.node)
        self.socket = socket
        self.ring = ring
        self.controls = controls
        unsafe messages = FixedTable(count: burst, repeating: sluice_message())
        unsafe vectors = FixedTable(count: burst, repeating: iovec())
        self.names = FixedTable(count: burst, repeating: sockaddr_in())
        wake = options.waker.descriptor
        for i in 0..<burst { prepare(i) }
    }

    private func prepare(_ i: Int) {
        let vector = unsafe vectors.pointer(i)
        unsafe vector.pointee.iov_base = ring.slot(i) + BurstReceiver.headroom
        unsafe vector.pointee.iov_len = ring.slotSize - BurstReceiver.headroom
        let header = unsafe messages.pointer(i)
        unsafe header.pointee.header.msg_iov = vector
        unsafe header.pointee.header.msg_iovlen = 1
        unsafe header.pointee.header.msg_name = UnsafeMutableRawPointer(names.pointer(i))
        unsafe header.pointee.header.msg_control =
            controls.slot(0) + i * BurstReceiver.controlSize
        resetLengths(i)
    }

    /// The kernel overwrites both lengths; the next burst needs them whole.
    private func resetLengths(_ i: Int) {
        let header = unsafe messages.pointer(i)
        unsafe header.pointee.header.msg_namelen = socklen_t(MemoryLayout<sockaddr_in>.size)
        unsafe header.pointee.header.msg_controllen = BurstReceiver.controlSize
    }

    /// One datagram of the burst.
    public struct Datagram {
        /// The slot it lies in, from `headroom` on.
        public var index: Int
        /// Bytes.
        public var length: Int
        public var isTruncated: Bool
        /// Peer, host order.
        public var source: UInt32
        public var sourcePort: UInt16
        /// Host order.
        public var destination: UInt32
        public var timeToLive: UInt8
        public var typeOfService: UInt8
    }

    /// Receives and hands each datagram that is addressed to us to `body`. Returns 0, or a
    /// negative errno when the socket is out of order.
    public mutating func receive(_ body: (Datagram) -> Void) -> Int {
        let n = Int(unsafe sluice_recvmmsg(socket.raw, messages.pointer(), UInt32(messages.count)))
        var i = 0
        while i < n {
            let message = unsafe messages.pointer(i)
            let beside = unsafe sluice_read_ancillary(&message.pointee.header)
            // For a unicast packet to us both addresses are equal; broadcast and multicast
            // packets name the interface's address as local. This follows address changes. The
            // sink has got them, too, and counts them.
            if beside.destination == beside.local {
                let name = unsafe names.pointer(i).pointee
                body(
                    Datagram(
                        index: i, length: unsafe Int(message.pointee.length),
                        isTruncated: unsafe message.pointee.header.msg_flags
                            & Int32(MSG_TRUNC) != 0,
                        source: UInt32(bigEndian: name.sin_addr.s_addr),
                        sourcePort: UInt16(bigEndian: name.sin_port),
                        destination: UInt32(bigEndian: beside.destination),
                        timeToLive: beside.ttl, typeOfService: beside.tos))
            }
            resetLengths(i)
            i &+= 1
        }
        return n >= 0 || n == -Int(EAGAIN) || n == -Int(EINTR) ? 0 : n
    }

    /// What the opening filter has dropped until now does not count.
    mutating func startCountingDrops() { lastDrops = sluice_socket_drops(socket.raw) }

    func wait(milliseconds: Int32) {
        _ = sluice_wait(socket.raw, wake, milliseconds)
    }

    /// poll passes over a negative descriptor.
    func pause(milliseconds: Int32) { _ = sluice_wait(-1, wake, milliseconds) }
}

/// One sendmmsg per burst of whole outer IPv4 packets on an IP_HDRINCL socket.
@safe public struct BurstSender: ~Copyable {
    private let socket: FileDescriptor
    private let names: FixedTable<sockaddr_in>
    /// With each packet, so that routes are looked up as for a socket bound to its source address,
    /// by `ip rule from`. The kernel reads no source from a header that it did not write.
    private let sources: FixedTable<sluice_source>
    private var queue: SendQueue

    public init(_ options: SocketOptions) throws(IOFailure) {
        // IPPROTO_RAW: IP_HDRINCL is on and the socket receives nothing (raw(7)).
        let socket = try FileDescriptor.socket(
            AF_INET, Int32(SOCK_RAW.rawValue), Int32(IPPROTO_RAW), "a raw socket for sending")
        socket.setSendBuffer(Int32(clamping: options.receiveBuffer))
        // The device's MTU counts, not a path MTU that some ICMP claimed: with DF clear the
        // kernel would fragment, and we never emit a fragment. Too long is EMSGSIZE.
        try socket.set(Int32(IPPROTO_IP), IP_MTU_DISCOVER, IP_PMTUDISC_PROBE, "IP_MTU_DISCOVER")
        // Without it the kernel says "sent" of what a full queueing discipline has dropped (ip(7)). What it
        // then keeps to tell of packets too long is read by nobody: no room for it.
        try socket.set(Int32(IPPROTO_IP), IP_RECVERR, 1, "IP_RECVERR")
        try socket.set(SOL_SOCKET, SO_RCVBUF, 1, "SO_RCVBUF")
        self.socket = socket
        names = FixedTable(count: options.burst, repeating: sockaddr_in())
        for i in 0..<options.burst {
            unsafe names.pointer(i).pointee.sin_family = sa_family_t(AF_INET)
        }
        queue = SendQueue(capacity: options.burst)
        let source = sluice_source(
            length: MemoryLayout<sluice_source>.offset(of: \.info)! + MemoryLayout<in_pktinfo>.size,
            level: Int32(IPPROTO_IP), type: IP_PKTINFO,
            info: in_pktinfo())
        sources = FixedTable(count: options.burst, repeating: source)
        for i in 0..<options.burst {
            unsafe queue.setControl(
                of: i, sources.pointer(i), length: MemoryLayout<sluice_source>.size)
        }
    }

    /// Adds a packet to the burst. - Precondition: an outer IPv4 header stands at its base.
    public mutating func add(_ frame: Frame) {
        let name = unsafe names.pointer(queue.count)
        let destination = unsafe frame.base.loadUnaligned(fromByteOffset: 16, as: UInt32.self)
        unsafe name.pointee.sin_addr.s_addr = destination
        let source = unsafe frame.base.loadUnaligned(fromByteOffset: 12, as: UInt32.self)
        unsafe sources.pointer(queue.count).pointee.info.ipi_spec_dst.s_addr = source
        unsafe queue.add(
            frame.base, length: Int(frame.length), name: UnsafeMutableRawPointer(name),
            nameLength: socklen_t(MemoryLayout<sockaddr_in>.size))
    }

    /// Sends what was added, as `SendQueue.flush` says.
    public mutating func flush() -> TransmitReport { queue.flush(to: socket.raw) }
}
