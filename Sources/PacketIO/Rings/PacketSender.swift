import CSluice

/// One sendmmsg per burst of whole Ethernet frames on an AF_PACKET socket.
///
/// With `bypassesQdisc` frames go straight to the driver: no queue in between, so local taps
/// (tcpdump) do not see them, and a full transmit ring refuses them.
@safe public struct PacketSender: ~Copyable {
    private let socket: FileDescriptor
    private var queue: SendQueue

    /// - Parameters:
    ///   - interface: index; 0 = each frame is added with an address that names it.
    ///   - burst: the most frames between two flushes.
    ///   - sendBuffer: bytes that may be on their way to the wire.
    public init(
        interface: Int32, burst: Int, bypassesQdisc: Bool = true, sendBuffer: Int32 = 32 << 20
    ) throws(IOFailure) {
        // Protocol 0: the socket receives nothing.
        let socket = try FileDescriptor.socket(
            AF_PACKET, Int32(SOCK_RAW.rawValue), 0, "a packet socket for sending")
        if bypassesQdisc {
            try socket.set(SOL_PACKET, PACKET_QDISC_BYPASS, 1, "PACKET_QDISC_BYPASS")
        }
        socket.setSendBuffer(sendBuffer)
        if interface != 0, sluice_bind_packet(socket.raw, 0, interface) != 0 {
            throw IOFailure("bind a packet socket to interface \(interface)")
        }
        self.socket = socket
        queue = SendQueue(capacity: burst)
    }

    /// Frames added since the last flush.
    public var count: Int { queue.count }

    /// Adds a frame: `length` bytes at `frame`, which stay as they are until `flush()`.
    @unsafe public mutating func add(_ frame: UnsafeMutableRawPointer, length: Int) {
        unsafe queue.add(frame, length: length)
    }

    /// Adds a frame for the interface that `address` names.
    @unsafe public mutating func add(
        _ frame: UnsafeMutableRawPointer, length: Int, to address: UnsafeMutablePointer<sockaddr_ll>
    ) {
        unsafe queue.add(
            frame, length: length, name: UnsafeMutableRawPointer(address),
            nameLength: socklen_t(MemoryLayout<sockaddr_ll>.size))
    }

    /// Sends what was added, as `SendQueue.flush` says.
    public mutating func flush() -> TransmitReport { queue.flush(to: socket.raw) }
}
