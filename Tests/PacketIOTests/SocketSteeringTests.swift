import CSluice
import PacketIO
import SluiceTesting
import Testing
import Wire

/// The steering programs at their real places: on a group of UDP sockets, and on raw sockets.
@Suite("Steering on sockets")
struct SocketSteeringTests {
    /// Hostile Geneve bytes that fit a datagram.
    private static let payloads = HostileBytes.all(seed: 5).map { Array($0.dropFirst(28)) }

    private func worker(_ bytes: [UInt8], _ start: Steering.Start, _ workers: Int) -> Int? {
        var bytes = bytes
        return withPacketView(&bytes) { Steering.worker(of: $0, from: start, workers: workers) }
    }

    /// Needs no privilege: plain UDP sockets on a port that the kernel picks.
    @Test(arguments: [1, 2, 3, 4, 8, 32])
    func `a group of UDP sockets hands any datagram to the worker that Swift names`(
        workers: Int
    ) throws {
        let group = try ReuseportGroup(workers: workers)
        for payload in Self.payloads {
            let takers = try group.takers(of: payload)
            try #require(takers == [worker(payload, .geneve, workers)!], "\(payload)")
        }
    }

    @Test(
        .enabled(if: Network.isAvailable, Network.requirement),
        arguments: Backend.allCases, [1, 2, 4])
    func `workers of a backend share out any packets as Swift says`(
        backend: Backend, workers: Int
    ) throws {
        try Network.isolated {
            let sink = backend.traits.takesPort ? nil : try PortSink(address: ourAddress)
            let fanout = FanoutGroup()
            let boxes = try (0..<workers).map { worker in
                Box(
                    try backend.open(
                        socketOptions {
                            $0.worker = worker
                            $0.workers = workers
                            $0.fanout = fanout
                        }))
            }
            for box in boxes { try box.io.release() }
            let sender = try RawSender()
            var expected = [[[UInt8]]](repeating: [], count: workers)
            for (i, payload) in Self.payloads.enumerated() where i % 7 == 0 {
                let datagram = PacketBuilder.udp(
                    source: bigEndian(gatewayAddress), destination: bigEndian(ourAddress), 25_322,
                    6081, payload)
                let packet = PacketBuilder.ipv4(
                    source: gatewayAddress, destination: ourAddress, protocolNumber: 17, datagram)
                try sender.send(packet)
                expected[worker(packet, .outerIPv4, workers)!].append(payload)
            }
            let received = boxes.map { drain(&$0.io).map { Array($0.bytes.dropFirst(28)) } }
            #expect(received == expected)
            withExtendedLifetime(sink) {}
        }
    }
}

/// UDP sockets in one SO_REUSEPORT group with the steering program, and someone who sends to it.
private final class ReuseportGroup {
    private var sockets: [UDPSocket] = []
    private let sender: UDPSocket

    init(workers: Int) throws {
        var port: UInt16 = 0  // the kernel picks the first one's
        for _ in 0..<workers {
            let socket = try UDPSocket()
            try socket.descriptor.set(SOL_SOCKET, SO_REUSEPORT, 1, "SO_REUSEPORT")
            try socket.descriptor.bind(address: ourAddress, port: port, "bind a UDP socket")
            if port == 0 { port = localPort(socket.descriptor.raw) }
            sockets.append(socket)
        }
        try sockets[workers - 1].descriptor.attach(
            Steering.selector(from: .geneve, workers: workers), by: SO_ATTACH_REUSEPORT_CBPF,
            "the steering program")
        sender = try UDPSocket()
        try connectIPv4(sender.descriptor.raw, ourAddress, port)
    }

    /// The indices of the sockets that receive the datagram.
    func takers(of datagram: [UInt8]) throws -> [Int] {
        guard send(sender.descriptor.raw, datagram, datagram.count, 0) == datagram.count else {
            throw IOFailure("send a datagram")
        }
        var polled = sockets.map {
            pollfd(fd: $0.descriptor.raw, events: Int16(POLLIN), revents: 0)
        }
        poll(&polled, nfds_t(polled.count), 1000)
        return polled.indices.filter { i in
            var byte: UInt8 = 0
            guard polled[i].revents != 0 else { return false }
            return recv(sockets[i].descriptor.raw, &byte, 1, Int32(MSG_DONTWAIT)) >= 0
        }
    }
}

private final class UDPSocket {
    let descriptor: FileDescriptor
    init() throws {
        descriptor = try .socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0, "a UDP socket")
    }
}

/// Puts a backend into an array.
private final class Box {
    var io: AnyBackend
    init(_ io: consuming AnyBackend) { self.io = io }
}
