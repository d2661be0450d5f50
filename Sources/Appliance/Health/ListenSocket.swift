import CSluice
import Configuration
import PacketIO
import Support

/// A TCP socket bound to its address, not listening yet.
struct ListenSocket: ~Copyable {
    private let descriptor: Int32
    let name: ListenAddress

    /// - Parameter setting: of the address, as it was given.
    init(_ name: ListenAddress, setting: String) throws(Failure) {
        self.name = name
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        var one: Int32 = 1
        // Sound: the kernel copies the four bytes of `one` during the call.
        _ = unsafe setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, 4)
        guard sluice_bind_ipv4(descriptor, name.address, name.port) == 0 else {
            let failure = IOFailure("bind the health port \(name)")
            close(descriptor)
            guard failure.errno == EADDRINUSE else { throw Failure(failure) }
            throw Failure(
                .system, "\(failure): change \(setting), or see `ss -ltnp` for its owner")
        }
    }

    /// Hands the descriptor to an owner that will close it.
    consuming func takeDescriptor() -> Int32 { descriptor }
}
