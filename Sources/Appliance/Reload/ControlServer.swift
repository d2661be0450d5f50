import CSluice
import Foundation

/// Serves the control socket beside all else that the control loop does: nothing here ever waits.
/// Whoever is slow, idle or says too much is let go; when there are too many, the one who has
/// said nothing for longest is, but nobody who has only just come. Who waits for us is never let go:
/// while all do, others wait in the socket's queue.
struct ControlServer: ~Copyable {
    private static let mostClients = 16
    private static let longestRequest = 4096
    /// For a request to come whole, and for a reply to be taken.
    private static let patience: UInt64 = 1_000_000_000
    /// Of it, what everybody has before another may take the place.
    private static let grace: UInt64 = 250_000_000

    private let socket: ControlSocket
    private var clients: [Client] = []
    /// The number of the latest client: descriptors come back, numbers do not.
    private var count: UInt64 = 0
    /// There was no descriptor for a client: who has come would be told again and again.
    private var isShort = false

    private struct Client {
        enum State { case reading, waiting, writing }

        let number: UInt64
        let descriptor: Int32
        var state = State.reading
        /// Monotonic nanoseconds; of no meaning while it waits for us.
        var deadline: UInt64
        var input = Data()
        var output: ArraySlice<UInt8> = []

        func mayGo(at now: UInt64) -> Bool {
            state != .waiting && now + ControlServer.patience >= deadline + ControlServer.grace
        }
    }

    init(_ socket: ControlSocket) { self.socket = socket }

    deinit { for client in clients { close(client.descriptor) } }

    /// What may bring something to do.
    var polled: [pollfd] {
        let mayAccept = !isShort && hasRoom(at: sluice_monotonic_ns())
        return [pollfd(fd: socket.descriptor, events: Int16(mayAccept ? POLLIN : 0), revents: 0)]
            + clients.map { client in
                let events: Int32 =
                    switch client.state {
                    case .reading: POLLIN
                    // Hanging up is always told.
                    case .waiting: 0
                    case .writing: POLLOUT
                    }
                return pollfd(fd: client.descriptor, events: Int16(events), revents: 0)
            }
    }

    /// Takes and gives what is possible now; returns the requests that came whole, each to be
    /// answered by `reply`, now or later.
    mutating func serve(now: UInt64) -> [(client: UInt64, command: String)] {
        accept(now: now)
        var requests: [(client: UInt64, command: String)] = []
        for i in clients.indices {
            switch clients[i].state {
            case .reading:
                if let command = read(i, now: now) {
                    requests.append((clients[i].number, command))
                }
            case .waiting: break
            case .writing: write(i)
            }
        }
        letGo { $0.state == .writing && now >= $0.deadline }
        letGo { $0.state == .waiting && ControlServer.hasHungUp($0.descriptor) }
        letGo { $0.state == .writing && $0.output.isEmpty }
        return requests
    }

    /// - Parameter client: as `serve` named it; gone meanwhile or not.
    mutating func reply(_ reply: ControlReply, to client: UInt64, now: UInt64) {
        guard let i = clients.firstIndex(where: { $0.number == client && $0.state == .waiting })
        else { return }
        answer(i, reply, now: now)
        letGo { $0.state == .writing && $0.output.isEmpty }
    }

    // ---- Clients.

    private mutating func accept(now: UInt64) {
        isShort = false
        for _ in 0..<ControlServer.mostClients where hasRoom(at: now) {
            let descriptor = sluice_accept_nonblocking(socket.descriptor)
            guard descriptor >= 0 else {
                isShort = descriptor != -EAGAIN
                return
            }
            let owner = sluice_peer_uid(descriptor)
            count += 1
            var client = Client(
                number: count, descriptor: descriptor, deadline: now + ControlServer.patience)
            if owner != 0, owner != Int32(bitPattern: geteuid()) {
                client.state = .writing
                client.output = ControlLine.encode(ControlReply(errors: ["not permitted"]))[...]
            }
            if clients.count >= ControlServer.mostClients { makeRoom(now) }
            clients.append(client)
        }
    }

    /// Somebody who does not wait for us can make room.
    private func hasRoom(at now: UInt64) -> Bool {
        clients.count < ControlServer.mostClients || clients.contains { $0.mayGo(at: now) }
    }

    private mutating func makeRoom(_ now: UInt64) {
        let oldest =
            clients.indices.filter { clients[$0].mayGo(at: now) }
            .min { clients[$0].deadline < clients[$1].deadline }
        guard let oldest else { return }
        close(clients[oldest].descriptor)
        clients.remove(at: oldest)
    }

    private mutating func letGo(_ isOver: (Client) -> Bool) {
        for client in clients where isOver(client) { close(client.descriptor) }
        clients.removeAll(where: isOver)
    }

    private static func hasHungUp(_ descriptor: Int32) -> Bool {
        var entry = pollfd(fd: descriptor, events: 0, revents: 0)
        // Sound: poll is told of the one entry that it fills in.
        return unsafe poll(&entry, 1, 0) > 0 && Int32(entry.revents) & (POLLHUP | POLLERR) != 0
    }

    /// The command, once the request is whole. What is no request is answered here.
    private mutating func read(_ i: Int, now: UInt64) -> String? {
        var chunk = [UInt8](repeating: 0, count: 4096)
        // Sound: recv writes at most as many bytes as the chunk has.
        let count = unsafe recv(clients[i].descriptor, &chunk, chunk.count, Int32(MSG_DONTWAIT))
        if count < 0, errno == EAGAIN || errno == EINTR, now < clients[i].deadline { return nil }
        guard count > 0 else {
            // Too slow, or at the end: who has closed the sending half only may read this.
            answer(i, ControlReply(errors: ["no request came"]), now: now)
            return nil
        }
        clients[i].input += chunk.prefix(count)
        guard let end = clients[i].input.firstIndex(of: 10) else {
            if clients[i].input.count >= ControlServer.longestRequest {
                answer(i, ControlReply(errors: ["the request is too long"]), now: now)
            }
            return nil
        }
        guard let request = ControlRequest(clients[i].input[..<end]) else {
            answer(
                i, ControlReply(errors: ["expected {\"command\": …} in one line"]), now: now)
            return nil
        }
        clients[i].state = .waiting
        return request.command
    }

    private mutating func answer(_ i: Int, _ reply: ControlReply, now: UInt64) {
        clients[i].state = .writing
        clients[i].deadline = now + ControlServer.patience
        clients[i].output = ControlLine.encode(reply)[...]
        write(i)
    }

    /// Sends as much as finds room.
    private mutating func write(_ i: Int) {
        while !clients[i].output.isEmpty {
            // Sound: the bytes stay where they are while the closure runs, and send only reads them.
            let count = unsafe clients[i].output.withUnsafeBytes {
                unsafe send(
                    clients[i].descriptor, $0.baseAddress, $0.count,
                    Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT))
            }
            if count < 0, errno == EAGAIN || errno == EINTR { return }
            guard count > 0 else {
                clients[i].output = []
                return
            }
            clients[i].output = clients[i].output.dropFirst(count)
        }
    }
}
