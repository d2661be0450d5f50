import CSluice

/// A TCP port that listens only while `/health` would answer 200: for target groups that check
/// by connecting.
///
/// The socket stays bound for good, so no one else takes the port meanwhile. On Linux, shutdown
/// for reading takes a listening socket back to closed, and it may listen again.
struct HealthTCPPort: ~Copyable {
    private let descriptor: Int32
    private(set) var isListening = false

    init(_ socket: consuming ListenSocket) {
        descriptor = socket.takeDescriptor()
        setReuse(0)
    }

    deinit { close(descriptor) }

    /// Listens or stops; turns away who has connected.
    mutating func update(isHealthy: Bool) {
        if isHealthy != isListening { isListening = isHealthy ? startListening() : stopListening() }
        if isListening { TCPClients.turnAway(descriptor) }
    }

    /// SO_REUSEADDR gets past our own connections in TIME_WAIT; left on, it would let another
    /// program take the port while we do not listen.
    private func startListening() -> Bool {
        setReuse(1)
        defer { setReuse(0) }
        return listen(descriptor, 1024) == 0
    }

    private func stopListening() -> Bool {
        shutdown(descriptor, Int32(SHUT_RD))
        return false
    }

    private func setReuse(_ value: Int32) {
        var value = value
        // Sound: the kernel copies the four bytes of `value` during the call.
        _ = unsafe setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &value, 4)
    }
}
