import CSluice
import Foundation
import PacketIO

/// The control socket: a UNIX stream socket for its owner, one JSON line per request and reply.
///
///     {"command": "reload"}
///     {"ok": true, "generation": 2}
///     {"ok": false, "errors": ["/etc/sluice.yaml:3: …"]}
struct ControlSocket: Sendable {
    static let defaultPath = "/run/sluice/control.sock"
    /// A request is one short line; whoever is slow with it is let go.
    private static let requestLimit = 4096
    fileprivate static let replyLimit = 1 << 20
    private static let patience: Int32 = 500

    let path: String
    let descriptor: Int32

    /// Listens at `path`, with the permissions of its owner alone. What a dead appliance left there
    /// is replaced; a live one is not.
    init(path: String) throws(Failure) {
        guard path.utf8.count <= 107 else {
            throw Failure(.usage, "control socket \(path): a path of at most 107 bytes is possible")
        }
        if path == ControlSocket.defaultPath { mkdir("/run/sluice", 0o755) }
        let client = sluice_connect_unix(path)
        if client >= 0 {
            close(client)
            throw Failure(
                .system,
                "control socket \(path) belongs to a running appliance: "
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

    /// Serves one who waits, if any: signals and health are looked at between two. `answer` turns a
    /// command into a reply.
    func serve(_ answer: (String) -> ControlReply) {
        let client = sluice_accept_nonblocking(descriptor)
        guard client >= 0 else { return }
        defer { close(client) }
        let owner = sluice_peer_uid(client)
        guard owner == 0 || owner == Int32(bitPattern: geteuid()) else {
            return ControlSocket.send(ControlReply(errors: ["not permitted"]), to: client)
        }
        let reply =
            ControlSocket.receiveLine(from: client).map { line in
                ControlRequest(line).map { answer($0.command) }
                    ?? ControlReply(errors: ["expected {\"command\": …} in one line"])
            } ?? ControlReply(errors: ["no request came"])
        ControlSocket.send(reply, to: client)
    }

    /// The next line, without its end; nil when it is too long or does not come.
    fileprivate static func receiveLine(
        from fd: Int32, limit: Int = requestLimit, patience: Int32 = patience
    ) -> Data? {
        var line = Data()
        // For the whole line: one who sends a byte at a time holds nobody up for longer.
        let deadline = sluice_monotonic_ns() + UInt64(patience) * 1_000_000
        while line.count < limit {
            var entry = pollfd(fd: fd, events: Int16(POLLIN), revents: 0)
            let now = sluice_monotonic_ns()
            guard now < deadline,
                poll(&entry, 1, Int32((deadline - now) / 1_000_000) + 1) > 0
            else { return nil }
            var chunk = [UInt8](repeating: 0, count: 512)
            let count = recv(fd, &chunk, chunk.count, 0)
            guard count > 0 else { return nil }
            line += chunk.prefix(count)
            if let end = line.firstIndex(of: 10) { return line[..<end] }
        }
        return nil
    }

    fileprivate static func send(_ value: some Encodable, to fd: Int32) {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        // Strings and numbers: this cannot fail.
        let bytes = Array(try! encoder.encode(value)) + [10]
        // A reply that finds no room in the socket is lost: nobody waits for a slow reader.
        _ = Glibc.send(fd, bytes, bytes.count, Int32(MSG_NOSIGNAL))
    }
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

/// Speaks to a running appliance.
public enum ControlClient {
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
        ControlSocket.send(ControlRequest(command: command), to: fd)
        guard
            let line = ControlSocket.receiveLine(
                from: fd, limit: ControlSocket.replyLimit, patience: 60_000),
            let reply = try? JSONDecoder().decode(ControlReply.self, from: line)
        else { throw Failure(.system, "the appliance at \(path) gave no answer: see its log") }
        return reply
    }
}
