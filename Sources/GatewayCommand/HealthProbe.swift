import CSluice
import PacketIO

/// One health check in flight: a connection, and for HTTP a request and the status line that
/// answers it. Never blocks; the event loop hands it its events.
struct HealthProbe: ~Copyable {
    enum Progress: Equatable {
        case running
        case finished(isSuccess: Bool)
    }

    private enum Step { case connecting, reading }

    /// Index in the target group.
    let target: Int
    private let socket: FileDescriptor
    private let request: [UInt8]
    /// Monotonic nanoseconds.
    private let deadline: UInt64
    private var step = Step.connecting
    private var answer: [UInt8] = []

    /// The longest status line that is read.
    private static let answerLimit = 4096

    /// Starts a check from the node's address, as GWLB does. Nil when it has failed already.
    /// - Parameters:
    ///   - node: our address, host order.
    ///   - address: the target's, host order.
    init?(
        target: Int, address: UInt32, node: UInt32, _ check: HealthCheck, host: String,
        at now: UInt64
    ) {
        let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
        guard let socket = try? FileDescriptor.socket(AF_INET, type, 0, "a health check socket"),
            sluice_bind_ipv4(socket.raw, node, 0) == 0
        else { return nil }
        var peer = sockaddr_in()
        peer.sin_family = sa_family_t(AF_INET)
        peer.sin_port = check.port.bigEndian
        peer.sin_addr.s_addr = address.bigEndian
        let result = withUnsafePointer(to: &peer) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(socket.raw, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard result == 0 || sluice_errno() == EINPROGRESS else { return nil }
        self.target = target
        self.socket = socket
        deadline = now + check.timeout
        switch check.method {
        case .tcp: request = []
        case .http:
            request = Array(
                ("GET \(check.path) HTTP/1.1\r\nHost: \(host)\r\n"
                    + "User-Agent: ELB-HealthChecker/2.0\r\nAccept: */*\r\n"
                    + "Connection: close\r\n\r\n").utf8)
        }
    }

    /// What to wait for.
    var pollEntry: pollfd {
        pollfd(
            fd: socket.raw, events: Int16(step == .connecting ? POLLOUT : POLLIN), revents: 0)
    }

    /// Goes on with what poll said about `pollEntry`.
    mutating func advance(events: Int16, at now: UInt64) -> Progress {
        if now >= deadline { return .finished(isSuccess: false) }
        guard events != 0 else { return .running }
        switch step {
        case .connecting: return finishConnecting()
        case .reading: return readAnswer()
        }
    }

    private mutating func finishConnecting() -> Progress {
        var error: Int32 = 0
        var size = socklen_t(MemoryLayout<Int32>.size)
        guard getsockopt(socket.raw, SOL_SOCKET, SO_ERROR, &error, &size) == 0, error == 0 else {
            return .finished(isSuccess: false)
        }
        if request.isEmpty { return .finished(isSuccess: true) }
        // A fresh connection's buffer takes the whole request.
        let sent = send(socket.raw, request, request.count, Int32(MSG_NOSIGNAL))
        guard sent == request.count else { return .finished(isSuccess: false) }
        step = .reading
        return .running
    }

    private mutating func readAnswer() -> Progress {
        var chunk = [UInt8](repeating: 0, count: 1024)
        let n = recv(socket.raw, &chunk, chunk.count, 0)
        if n < 0, sluice_errno() == EAGAIN { return .running }
        guard n > 0 else { return .finished(isSuccess: false) }
        answer += chunk[0..<n]
        if let end = answer.firstIndex(of: 10) {
            return .finished(isSuccess: HealthProbe.isSuccess(statusLine: answer[..<end]))
        }
        return answer.count < Self.answerLimit ? .running : .finished(isSuccess: false)
    }

    /// "HTTP/1.x 2xx …" or "… 3xx …" (GWLB takes 200 to 399 for healthy).
    static func isSuccess(statusLine: ArraySlice<UInt8>) -> Bool {
        let parts = statusLine.split(separator: 32, maxSplits: 2)
        guard parts.count >= 2, parts[0].starts(with: Array("HTTP/1.".utf8)) else { return false }
        let code = parts[1].prefix { $0 != 13 }
        return code.count == 3 && (code.first == 50 || code.first == 51)
            && code.allSatisfy { $0 >= 48 && $0 <= 57 }
    }
}
