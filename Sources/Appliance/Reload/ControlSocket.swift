import CSluice
import Configuration
import Foundation
import PacketIO
import Support

/// The control socket: a UNIX stream socket for its owner, one JSON line per request and reply.
///
///     {"command": "reload"}
///     {"ok": true, "generation": 2}
///     {"ok": false, "errors": ["/etc/sluice.yaml:3: …"]}
///
/// `ControlServer` serves it, `ControlClient` speaks to it.
struct ControlSocket: Sendable {
    static let defaultPath = "/run/sluice/control.sock"

    let path: String
    let descriptor: Int32
    /// Of its file: another program may have put its own in the place.
    private let inode: UInt64

    /// Listens at `path`, with the permissions of its owner alone. What a dead appliance left there
    /// is replaced; a live one is not, and nothing but a socket ever is.
    ///
    /// - Parameter configuration: names where the path was given.
    init(path: String, _ configuration: Configuration) throws(Failure) {
        let name = configuration.name(of: "control")
        guard path.utf8.count <= 107 else {
            throw configuration.failure(
                blaming: "control",
                "control socket \(path): a path of at most 107 bytes is possible")
        }
        // Sound: the paths are C strings for the calls, and at most 107 bytes fit an address.
        if path == ControlSocket.defaultPath { _ = unsafe mkdir("/run/sluice", 0o755) }
        let client = ControlSocket.connect(path)
        if client >= 0 { close(client) }
        // EAGAIN: somebody listens, with a full queue.
        guard client < 0, -client != EAGAIN else {
            throw Failure(
                .system,
                "control socket \(path) belongs to a running appliance: "
                    + "name another with \(name)")
        }
        guard [ENOENT, ECONNREFUSED].contains(-client) else {
            throw Failure(
                .system,
                "control socket \(path): \(ControlSocket.reason(-client)): "
                    + "name another with \(name)")
        }
        var inode: UInt64 = 0
        // Sound: the call writes the one number.
        let listener = unsafe sluice_listen_unix(path, &inode)
        guard listener >= 0 else {
            throw Failure(
                .system,
                "cannot listen on control socket \(path): \(ControlSocket.reason(-listener)): "
                    + "name another with \(name)")
        }
        self.path = path
        self.inode = inode
        descriptor = listener
    }

    /// The socket's file goes with the appliance, if it is still ours.
    func remove() {
        // Sound: the path is a C string for the call.
        unsafe sluice_unlink_unix(path, inode)
    }

    /// A descriptor, or -errno.
    static func connect(_ path: String) -> Int32 {
        // Sound: the path is a C string for the call, which refuses one that is too long.
        unsafe sluice_connect_unix(path)
    }

    /// What the system says of an errno.
    static func reason(_ errno: Int32) -> String {
        // Sound: strerror gives a C string, which is copied at once.
        unsafe String(cString: strerror(errno))
    }
}
