import CSluice
import Foundation
import Support

/// Speaks to a running appliance.
public enum ControlClient {
    private static let replyLimit = 4 << 20
    private static let patience: UInt64 = 60_000_000_000

    /// - Throws: `Failure` when there is no appliance or it does not answer.
    public static func ask(_ command: String, path: String?) throws(Failure) -> ControlReply {
        let path = path ?? ControlSocket.defaultPath
        let fd = ControlSocket.connect(path)
        guard fd >= 0 else {
            throw Failure(
                .system,
                "no appliance answers at \(path): \(ControlSocket.reason(-fd)) "
                    + "(run it with --config; --control names another socket)")
        }
        defer { close(fd) }
        let request = ControlLine.encode(ControlRequest(command: command))
        // Sound: send only reads, and no more than the bytes of the array.
        _ = unsafe send(fd, request, request.count, Int32(MSG_NOSIGNAL))
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
            // Sound: poll is told of one entry, and recv of the size of the chunk.
            guard now < deadline,
                unsafe poll(&entry, 1, Int32((deadline - now) / 1_000_000) + 1) > 0
            else { return nil }
            let count = unsafe recv(fd, &chunk, chunk.count, 0)
            guard count > 0 else { return nil }
            line += chunk.prefix(count)
            if let end = line.firstIndex(of: 10) { return line[..<end] }
        }
        return nil
    }
}
