import CSluice

/// A file descriptor that closes itself.
public struct FileDescriptor: ~Copyable {
    public let raw: Int32

    public init(_ raw: Int32) { self.raw = raw }

    deinit { close(raw) }

    /// Leaves the descriptor open until the process ends.
    public consuming func keepUntilExit() { discard self }

    /// The same, and then it is closed after `others`: the end of a process closes descriptors in
    /// ascending order, and a file with its last one.
    public consuming func keepUntilExit(after others: [Int32]) {
        if let last = others.max() { _ = sluice_duplicate(raw, last + 1) }
        discard self
    }

    /// A socket, closed on exec.
    public static func socket(
        _ family: Int32, _ type: Int32, _ number: Int32, _ what: String
    ) throws(IOFailure) -> FileDescriptor {
        let fd = sluice_socket(family, type | Int32(SOCK_CLOEXEC.rawValue), number)
        guard fd >= 0 else { throw IOFailure("open \(what)") }
        return FileDescriptor(fd)
    }

    /// Sets an integer option.
    public borrowing func set(
        _ level: Int32, _ option: Int32, _ value: Int32 = 1, _ what: String
    ) throws(IOFailure) {
        var value = value
        let size = socklen_t(MemoryLayout<Int32>.size)
        guard unsafe setsockopt(raw, level, option, &value, size) == 0 else {
            throw IOFailure("set \(what)")
        }
    }

    /// Receive buffer of at least `bytes`: by force when privileged, else up to the host's
    /// limit (net.core.rmem_max). Returns what the kernel gave.
    @discardableResult
    public borrowing func setReceiveBuffer(_ bytes: Int32) -> Int32 {
        setBuffer(bytes, force: SO_RCVBUFFORCE, plain: SO_RCVBUF)
    }

    /// The same for sending (net.core.wmem_max).
    @discardableResult
    public borrowing func setSendBuffer(_ bytes: Int32) -> Int32 {
        setBuffer(bytes, force: SO_SNDBUFFORCE, plain: SO_SNDBUF)
    }

    private borrowing func setBuffer(_ bytes: Int32, force: Int32, plain: Int32) -> Int32 {
        var value = bytes
        var size = socklen_t(MemoryLayout<Int32>.size)
        if unsafe setsockopt(raw, SOL_SOCKET, force, &value, size) != 0 {
            _ = unsafe setsockopt(raw, SOL_SOCKET, plain, &value, size)
        }
        var got: Int32 = 0
        _ = unsafe getsockopt(raw, SOL_SOCKET, plain, &got, &size)
        return got
    }

    /// Binds to an IPv4 address (host order, 0 = any) and port.
    public borrowing func bind(
        address: UInt32, port: UInt16, _ what: String
    ) throws(IOFailure) {
        guard sluice_bind_ipv4(raw, address, port) == 0 else { throw IOFailure(what) }
    }

    /// Restricts the socket to one interface.
    public borrowing func bind(toDevice name: String) throws(IOFailure) {
        let result = unsafe name.withCString {
            unsafe setsockopt(raw, SOL_SOCKET, SO_BINDTODEVICE, $0, socklen_t(name.utf8.count + 1))
        }
        guard result == 0 else { throw IOFailure("bind to interface \(name)") }
    }
}

/// Wakes a worker that sleeps in `wait`. Safe to use from any thread.
public struct Waker: Sendable {
    public let descriptor: Int32

    /// - Throws: when the process is out of descriptors.
    public init() throws(IOFailure) {
        descriptor = eventfd(0, Int32(EFD_NONBLOCK | EFD_CLOEXEC))
        guard descriptor >= 0 else { throw IOFailure("create an eventfd") }
    }

    public func wake() {
        var one: UInt64 = 1
        _ = unsafe write(descriptor, &one, 8)
    }
}
