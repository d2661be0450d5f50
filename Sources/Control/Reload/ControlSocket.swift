import CSluice
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

    /// Listens at `path`, with the permissions of its owner alone. What a dead appliance left there
    /// is replaced; a live one is not, and nothing but a socket ever is.
    init(path: String) throws(Failure) {
        guard path.utf8.count <= 107 else {
            throw Failure(.usage, "control socket \(path): a path of at most 107 bytes is possible")
        }
        if path == ControlSocket.defaultPath { mkdir("/run/sluice", 0o755) }
        let client = sluice_connect_unix(path)
        if client >= 0 { close(client) }
        // EAGAIN: somebody listens, with a full queue.
        guard client < 0, -client != EAGAIN else {
            throw Failure(
                .system,
                "control socket \(path) belongs to a running appliance: "
                    + "name another with --control")
        }
        guard [ENOENT, ECONNREFUSED].contains(-client) else {
            throw Failure(
                .system,
                "control socket \(path): \(String(cString: strerror(-client))): "
                    + "name another with --control")
        }
        let listener = sluice_listen_unix(path)
        guard listener >= 0 else {
            throw Failure(IOFailure("listen on control socket \(path)", errno: -listener))
        }
        self.path = path
        descriptor = listener
    }

    /// The socket's file goes with the appliance.
    func remove() { unlink(path) }
}

struct ControlRequest: Codable {
    var command: String

    init(command: String) { self.command = command }

    /// Nil when the line is not a request.
    init?(_ line: Data) {
        guard let request = try? JSONDecoder().decode(ControlRequest.self, from: line) else {
            return nil
        }
        self = request
    }
}

public struct ControlReply: Codable, Sendable {
    public var ok: Bool
    public var generation: UInt64?
    public var errors: [String]?

    public init(generation: UInt64) {
        ok = true
        self.generation = generation
    }

    public init(errors: [String]) {
        ok = false
        self.errors = errors
    }
}

/// Requests and replies as they go over the socket.
enum ControlLine {
    static func encode(_ value: some Encodable) -> [UInt8] {
        Array((JSONText.line(value) + "\n").utf8)
    }
}

/// Speaks to a running appliance.
public enum ControlClient {
    private static let replyLimit = 4 << 20
    private static let patience: UInt64 = 60_000_000_000

    /// - Throws: `Failure` when there is no appliance or it does not answer.
    public static func ask(_ command: String, path: String?) throws(Failure) -> ControlReply {
        let path = path ?? ControlSocket.defaultPath
        let fd = sluice_connect_unix(path)
        guard fd >= 0 else {
            throw Failure(
                .system,
                "no appliance answers at \(path): \(String(cString: strerror(-fd))) "
                    + "(run it with --config; --control names another socket)")
        }
        defer { close(fd) }
        let request = ControlLine.encode(ControlRequest(command: command))
        _ = send(fd, request, request.count, Int32(MSG_NOSIGNAL))
        guard let line = receiveLine(from: fd),
            let reply = try? JSONDecoder().decode(ControlReply.self, from: line)
        else { throw Failure(.system, "the appliance at \(path) gave no answer: see its log") }
        return reply
    }

    /// The next line, without its end; nil when it is too long or does not come.
    private static func receiveLine(from fd: Int32) -> Data? {
        var line = Data()
        var chunk = [UInt8](repeating: 0, count: 1 << 14)
        let deadline = sluice_monotonic_ns() + patience
        while line.count < replyLimit {
            var entry = pollfd(fd: fd, events: Int16(POLLIN), revents: 0)
            let now = sluice_monotonic_ns()
            guard now < deadline,
                poll(&entry, 1, Int32((deadline - now) / 1_000_000) + 1) > 0
            else { return nil }
            let count = recv(fd, &chunk, chunk.count, 0)
            guard count > 0 else { return nil }
            line += chunk.prefix(count)
            if let end = line.firstIndex(of: 10) { return line[..<end] }
        }
        return nil
    }
}
