import CSluice
import Wire

/// The UDP socket that silences ICMP: while it is bound, the kernel finds a taker for every
/// datagram to port 6081 and answers none with port unreachable. Its filter drops everything, so
/// it never needs reading; it counts what it has dropped.
public struct PortSink: ~Copyable {
    private let socket: FileDescriptor

    /// - Parameters:
    ///   - address: host order; 0 takes the port on every address.
    ///   - sharing: be a member of the address's SO_REUSEPORT group. Packets to an address of which
    ///     there is a group go to that one.
    /// - Throws: EADDRINUSE when someone else (a daemon, a kernel geneve device) has the port.
    public init(address: UInt32, sharing: Bool = false) throws(IOFailure) {
        let socket = try FileDescriptor.socket(
            AF_INET, Int32(SOCK_DGRAM.rawValue), 0, "a UDP socket")
        try socket.attach(Steering.dropAll, "the drop-all filter")
        if sharing { try socket.set(SOL_SOCKET, SO_REUSEPORT, 1, "SO_REUSEPORT") }
        try socket.bind(address: address, port: GeneveHeader.port, "bind UDP port 6081")
        self.socket = socket
    }

    /// Lets others join: it is the first member of their group.
    public borrowing func share() throws(IOFailure) {
        try socket.set(SOL_SOCKET, SO_REUSEPORT, 1, "SO_REUSEPORT")
    }

    /// Where workers have copies of their packets, two sinks share the port: member 1 of their group
    /// gets what workers claim, member 0 all else; without `served`, all.
    ///
    /// - Parameter group: the descriptor of either.
    public static func divide(
        _ group: Int32, served: Served?, address: UInt32
    ) throws(IOFailure) {
        let program = served?.sinkSelector(address: address) ?? Steering.dropAll
        try program.attach(
            to: group, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, "the program of the port sinks")
    }

    /// For its counter, and for the program of its group.
    public var descriptor: Int32 { socket.raw }

    /// Frees the port.
    public consuming func close() {}

    /// The sink outlives everything: it goes when the process ends.
    ///
    /// - Parameter others: sockets that it outlives.
    public consuming func keepUntilExit(after others: [Int32] = []) {
        socket.keepUntilExit(after: others)
    }
}
