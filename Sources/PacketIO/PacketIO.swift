/// Moves bursts of frames in and out. One thread owns an instance; nothing here is shared.
///
/// The walk of a burst: `receive()` fills the first n of `frames`; the worker decides each one
/// (`isAnswer`, and `length` after a rewrite); `transmit(n)` sends the answers. A burst owns its
/// frames: all are free again at the next `receive()`, so no frame has a lifetime of its own.
///
/// Backends mark what runs per burst `@_noLocks`, where Swift 6.3 can judge it: the compiler then
/// refuses code that may allocate, count references or lock. It needs the whole module for that (a
/// release build), and no PacketView in sight; tools/hotpath proves the rest on the machine code.
public protocol PacketIO: ~Copyable {
    /// Descriptors of the burst in hand; at least `burstCapacity` of them.
    var frames: UnsafeMutablePointer<Frame> { get }
    /// The most frames one `receive()` returns.
    var burstCapacity: Int { get }
    /// Frames lost before we saw them, by the kernel's own count, since the start.
    var kernelDrops: UInt64 { mutating get }

    /// Whether answers leave with a zero outer UDP checksum; only for backends that compute it.
    mutating func sendsZeroChecksum(_ isZero: Bool)
    /// Takes what waits, without blocking: how many frames, or a negative errno.
    mutating func receive() -> Int
    /// Sends the answers among the first `count` frames; never blocks.
    mutating func transmit(_ count: Int) -> TransmitReport
    /// Sleeps until a frame may wait, `Waker.wake()` is called or the time is over.
    mutating func wait(milliseconds: Int32)
    /// Sleeps until `Waker.wake()` is called or the time is over, whatever the socket says.
    mutating func pause(milliseconds: Int32)
    /// Monotonic nanoseconds.
    mutating func now() -> UInt64
}

extension PacketIO where Self: ~Copyable {
    @inlinable @inline(__always)
    public mutating func sendsZeroChecksum(_ isZero: Bool) {}
}

/// What the start of a worker asks of a backend beside the packet path.
public protocol SocketBackend: PacketIO, ~Copyable {
    static var traits: BackendTraits { get }
    /// Opens the sockets of one worker, behind a filter that drops everything.
    init(_ options: SocketOptions) throws(IOFailure)
    /// Lets packets in, once all workers have opened.
    mutating func release() throws(IOFailure)
    /// Memory of the buffer ring, bytes.
    var ringByteCount: Int { get }
    /// The receiving socket.
    var socketDescriptor: Int32 { get }
}

/// One frame of a burst: an outer IPv4 packet in a slot of the buffer ring.
@safe public struct Frame: BitwiseCopyable {
    /// First byte of the outer IPv4 header.
    public var base: UnsafeMutableRawPointer
    /// Bytes of packet at `base`.
    public var length: Int32
    /// Bytes from `base` that may be written: room to grow.
    public var room: Int32
    /// What the backend knows about the frame.
    public var facts: FrameFacts
    /// Set by the worker: send this frame back.
    public var isAnswer: Bool

    @inlinable
    public init(
        base: UnsafeMutableRawPointer, length: Int32, room: Int32, facts: FrameFacts = []
    ) {
        unsafe self.base = unsafe base
        self.length = length
        self.room = room
        self.facts = facts
        isAnswer = false
    }
}

/// What a backend knows about a frame beyond its bytes.
public struct FrameFacts: OptionSet, BitwiseCopyable, Sendable {
    public let rawValue: UInt8
    @inlinable public init(rawValue: UInt8) { self.rawValue = rawValue }

    /// The kernel has verified the outer IPv4 header.
    @inlinable public static var headerVerified: FrameFacts { FrameFacts(rawValue: 1) }
    /// The kernel has verified the outer UDP checksum (or there was none).
    @inlinable public static var checksumVerified: FrameFacts { FrameFacts(rawValue: 2) }
    /// The backend writes the outer UDP checksum when it sends: no one needs to keep it right.
    @inlinable public static var checksumOnTransmit: FrameFacts { FrameFacts(rawValue: 4) }
    /// The packet was longer than its slot: what is here is its beginning.
    @inlinable public static var truncated: FrameFacts { FrameFacts(rawValue: 8) }
}

/// What became of the answers of one burst.
public struct TransmitReport: Equatable, BitwiseCopyable, Sendable {
    /// Answers the kernel accepted.
    public var packets = 0
    /// Their bytes, outer IPv4 header included.
    public var bytes = 0
    /// Answers given up: refused by the kernel, also after retries.
    public var refused = 0
    /// Times a full queue made us try again.
    public var retries = 0

    @inlinable public init() {}
}
