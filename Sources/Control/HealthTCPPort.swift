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
    }

    deinit { close(descriptor) }

    /// Listens or stops; turns away who has connected.
    mutating func update(isHealthy: Bool) {
        if isHealthy != isListening {
            if isHealthy {
                listen(descriptor, 1024)
            } else {
                shutdown(descriptor, Int32(SHUT_RD))
            }
            isListening = isHealthy
        }
        guard isListening else { return }
        while true {
            let client = sluice_accept_nonblocking(descriptor)
            guard client >= 0 else { return }
            close(client)
        }
    }
}
