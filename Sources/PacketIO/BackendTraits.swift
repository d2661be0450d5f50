import CSluice

/// What the start of the appliance must know of a backend before it opens a socket of it. Every
/// `SocketBackend` declares its own.
public struct BackendTraits: Sendable {
    /// The socket that packets come in by.
    public let socket: SocketKind
    /// It can steer packets by the CPU that received them, not by their flow alone.
    public let steersByCPU: Bool
    /// It listens on Ethernet interfaces, so the start must know which, and its slots must hold
    /// the longest packet that they bring.
    public let needsInterfaces: Bool
    /// The IP stack sees its packets too: a `DropHook` keeps the stack from working on them.
    public let usesDropHook: Bool
    /// Packets that an interface has merged reach it as one.
    public let getsMergedPackets: Bool
    /// Its own sockets take UDP port 6081; for the others a `PortSink` does.
    public let takesPort: Bool
    /// Every worker's socket is offered every packet, so it is slow with many workers.
    public let offersAllToEach: Bool
    /// Bytes of a slot in front of the outer IPv4 header.
    public let slotOverhead: Int
    /// Memory of one worker, for this many waiting frames and frames of a burst.
    public let memory: @Sendable (_ frames: Int, _ frameSize: Int, _ burst: Int) -> BackendMemory
    /// Makes the receiving socket of a worker take what `options` serve now. Callable from any
    /// thread, without a privilege; the kernel replaces a program in one step.
    public let follow:
        @Sendable (_ socket: Int32, _ options: SocketOptions) throws(IOFailure) -> Void
}

/// How a socket is opened.
public struct SocketKind: Sendable {
    let family: Int32
    let type: Int32
    let protocolNumber: Int32
    /// For messages: "a raw socket".
    let name: String

    public func open() throws(IOFailure) -> FileDescriptor {
        try FileDescriptor.socket(family, type, protocolNumber, name)
    }
}

/// Memory that the frames of one worker take, bytes.
public struct BackendMemory: Equatable, Sendable {
    /// Taken at the start.
    public let ring: Int
    /// Taken by the kernel while packets wait in a socket's buffer.
    public let socketBuffer: Int

    public var total: Int { ring + socketBuffer }
}
