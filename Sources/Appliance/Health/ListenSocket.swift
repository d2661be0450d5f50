import CSluice
import Configuration
import PacketIO
import Support

/// A TCP socket bound to its address, not listening yet.
struct ListenSocket: ~Copyable {
    private let descriptor: Int32
    let name: ListenAddress

    /// - Parameters:
    ///   - setting: that the address is the value of.
    ///   - configuration: knows where it was given.
    init(
        _ name: ListenAddress, _ setting: String, _ configuration: Configuration
    ) throws(Failure) {
        self.name = name
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        var one: Int32 = 1
        // Sound: the kernel copies the four bytes of `one` during the call.
        _ = unsafe setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, 4)
        guard sluice_bind_ipv4(descriptor, name.address, name.port) == 0 else {
            let failure = IOFailure("bind the health port \(name)")
            close(descriptor)
            throw ListenSocket.explain(failure, configuration.name(of: setting))
        }
    }

    private static func explain(_ failure: IOFailure, _ setting: String) -> Failure {
        switch failure.errno {
        case EADDRINUSE:
            Failure(.system, "\(failure): change \(setting), or see `ss -ltnp` for its owner")
        case EADDRNOTAVAIL:
            Failure(.system, "\(failure): name an address of this host in \(setting)")
        case EACCES:
            Failure(
                .privilege,
                "\(failure): change \(setting) to a port from 1024 on, or run as root or with "
                    + "CAP_NET_BIND_SERVICE")
        default: Failure(failure)
        }
    }

    /// Hands the descriptor to an owner that will close it.
    consuming func takeDescriptor() -> Int32 { descriptor }
}
