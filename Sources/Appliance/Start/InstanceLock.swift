import CSluice
import PacketIO
import Support

/// One appliance per network namespace: two would answer every packet twice.
///
/// An abstract UNIX socket is the lock: it belongs to the namespace and vanishes with its owner,
/// also after kill -9. It listens, so that the next one can ask who holds it.
struct InstanceLock: ~Copyable {
    private static let name = "sluice-appliance"
    private let socket: FileDescriptor

    init() throws(Failure) {
        let socket = try InstanceLock.openSocket()
        // Sound: the name is a C string for the call, and much shorter than an address.
        guard unsafe sluice_bind_abstract(socket.raw, InstanceLock.name) == 0 else {
            throw Failure(
                .system,
                "another appliance, \(InstanceLock.holder()), runs in this network namespace: "
                    + "stop it first, two would answer every packet twice")
        }
        listen(socket.raw, 64)
        self.socket = socket
    }

    private static func openSocket() throws(Failure) -> FileDescriptor {
        do throws(IOFailure) {
            return try FileDescriptor.socket(
                AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, "a UNIX socket")
        } catch {
            throw Failure(error)
        }
    }

    /// Keeps the lock until the process ends; whoever asks for its holder connects to this.
    consuming func keepUntilExit() -> Int32 {
        let descriptor = socket.raw
        socket.keepUntilExit()
        return descriptor
    }

    /// "sluice (pid 42)".
    private static func holder() -> String {
        // Not blocking: a holder that is busy or stopped must not hang the one who asks.
        let type = Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue)
        let fd = CSluice.socket(AF_UNIX, type, 0)
        defer { close(fd) }
        // Sound: as where the name is bound.
        guard fd >= 0, unsafe sluice_connect_abstract(fd, name) == 0 else {
            return "busy or stopping"
        }
        let pid = sluice_peer_pid(fd)
        guard pid > 0 else { return "of another container" }
        let command = ProcFile.read("/proc/\(pid)/comm").split(separator: "\n").first ?? "process"
        return "\(command) (pid \(pid))"
    }
}
