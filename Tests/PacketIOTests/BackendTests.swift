import CSluice
import PacketIO
import SluiceTesting
import Testing

/// What holds for all backends alike, over loopback.
@Suite("Socket backends", .enabled(if: Network.isAvailable, Network.requirement))
struct BackendTests {
    @Test(arguments: Backend.allCases)
    func `nothing comes in before release, and nothing of it afterwards`(backend: Backend) throws {
        try backend.onFreshNetwork { io, sender, _ in
            for _ in 0..<5 { try sender.send(gatewayPacket([0x45]).bytes()) }
            #expect(drain(&io).isEmpty)
            try io.release()
            try sender.send(gatewayPacket().bytes())
            let received = drain(&io)
            #expect(received.count == 1)
            #expect(received.first?.bytes.dropFirst(28) == gatewayPacket().bytes().dropFirst(28))
        }
    }

    @Test(arguments: Backend.allCases)
    func `bursts take what waits, in order, up to their capacity`(backend: Backend) throws {
        try backend.onFreshNetwork({ $0.burst = 4 }) { io, sender, _ in
            #expect(io.burstCapacity == 4)
            try io.release()
            for i in 0..<10 as Range<UInt8> {
                try sender.send(gatewayPacket(PacketBuilder.udp4(1, 2, [i])).bytes())
            }
            var bursts: [Int] = []
            let received = drain(&io) { bursts.append($1) }
            #expect(bursts == [4, 4, 2])
            #expect(received.map { $0.bytes.last } == (0..<10).map { $0 })
            #expect(io.kernelDrops == 0)
        }
    }

    @Test(arguments: Backend.allCases)
    func `a packet longer than its slot is marked as truncated`(backend: Backend) throws {
        try backend.onFreshNetwork({ $0.slotSize = 256 }) { io, sender, _ in
            try io.release()
            let long = PacketBuilder.udp4(1, 2, [UInt8](repeating: 7, count: 300))
            try sender.send(gatewayPacket(long).bytes())
            try sender.send(gatewayPacket().bytes())
            let received = drain(&io)
            try #require(received.count == 2)
            #expect(received[0].facts.contains(.truncated))
            #expect(received[0].bytes.count <= received[0].room)
            #expect(!received[1].facts.contains(.truncated))
        }
    }

    @Test(arguments: Backend.allCases)
    func `broadcast and multicast packets are not ours`(backend: Backend) throws {
        try backend.onFreshNetwork({ $0.address = 0 }) { io, sender, _ in
            try io.release()
            for address in [0x7FFF_FFFF, 0xE000_0001, ourAddress] as [UInt32] {
                var builder = gatewayPacket()
                builder.destination = address
                try sender.send(builder.bytes())
            }
            #expect(drain(&io).map { Array($0.bytes[16..<20]) } == [bigEndian(ourAddress)])
        }
    }

    @Test(arguments: Backend.allCases)
    func `packets to other ports are not ours`(backend: Backend) throws {
        try backend.onFreshNetwork { io, sender, _ in
            try io.release()
            var builder = gatewayPacket()
            builder.sourcePort = 6081
            builder.destinationPort = 53
            try sender.send(builder.bytes())
            #expect(drain(&io).isEmpty)
        }
    }

    @Test(arguments: Backend.allCases)
    func `only packets of the named interfaces come in`(backend: Backend) throws {
        let cases: [(names: [String], isHeard: Bool)] = [
            (["lo"], true), (["lo", "absent"], true), (["absent", "gone"], false),
        ]
        for (names, isHeard) in cases {
            try backend.onFreshNetwork({ $0.interfaces = names }) { io, sender, _ in
                try io.release()
                try sender.send(gatewayPacket().bytes())
                #expect(drain(&io).count == (isHeard ? 1 : 0), "\(names)")
            }
        }
    }

    @Test(arguments: Backend.allCases)
    func `a missing interface is an error that names it`(backend: Backend) throws {
        let error = #expect(throws: IOFailure.self) {
            try backend.onFreshNetwork({ $0.interfaces = ["eth9"] }) { _, _, _ in }
        }
        #expect(error?.errno == ENODEV)
        #expect(error?.description == "cannot bind to interface eth9: No such device")
    }

    @Test(arguments: Backend.allCases)
    func `an address that is not ours is an error`(backend: Backend) throws {
        let error = #expect(throws: IOFailure.self) {
            try backend.onFreshNetwork({ $0.address = 0x0808_0808 }) { _, _, _ in }
        }
        #expect(error?.errno == EADDRNOTAVAIL)
    }

    @Test(arguments: Backend.allCases)
    func `packets that overflow the socket's buffer are counted, each once`(
        backend: Backend
    ) throws {
        try backend.onFreshNetwork({ $0.receiveBuffer = 16_384 }) { io, sender, _ in
            try io.release()
            let inner = PacketBuilder.udp4(1, 2, [UInt8](repeating: 0, count: 1000))
            var lost = 0
            for _ in 0..<2 {
                for _ in 0..<200 { try sender.send(gatewayPacket(inner).bytes()) }
                let early = drain(&io).count
                #expect(early > 0 && early < 200)
                lost += 200 - early
                // The kernel tells its count with the next packet that finds room.
                try sender.send(gatewayPacket().bytes())
                #expect(drain(&io).count == 1)
                #expect(io.kernelDrops == UInt64(lost))
            }
        }
    }

    @Test(arguments: Backend.allCases)
    func `an answer leaves with its ports, TTL, TOS and Geneve bytes as they came`(
        backend: Backend
    ) throws {
        try backend.onFreshNetwork { io, sender, _ in
            try io.release()
            let observer = try RawObserver(Int32(IPPROTO_UDP), at: gatewayAddress)
            var packet = gatewayPacket()
            packet.timeToLive = 77
            packet.typeOfService = 0xB8
            packet.reserved = (0x2A, 0x99)
            packet.vni = 0x123456
            try sender.send(packet.bytes())
            var report = TransmitReport()
            _ = drain(&io) { io, count in
                turnAround(io.frames)
                report = io.transmit(count)
            }
            #expect(report == .of(packets: 1, bytes: packet.bytes().count))
            let answers = observer.packets()
            try #require(answers.count == 1)
            (packet.source, packet.destination) = (ourAddress, gatewayAddress)
            // `udp` does not know the ID: the kernel makes one.
            if backend == .udp {
                packet.identification = UInt16(answers[0][4]) << 8 | UInt16(answers[0][5])
            }
            #expect(answers[0] == packet.bytes())
        }
    }

    @Test(arguments: Backend.allCases)
    func `frames that are not answers stay`(backend: Backend) throws {
        try backend.onFreshNetwork { io, sender, _ in
            try io.release()
            let observer = try RawObserver(Int32(IPPROTO_UDP), at: gatewayAddress)
            for i in 0..<3 as Range<UInt8> {
                try sender.send(gatewayPacket(PacketBuilder.udp4(1, 2, [i])).bytes())
            }
            var report = TransmitReport()
            _ = drain(&io) { io, count in
                for i in [0, 2] { turnAround(io.frames + i) }
                report = io.transmit(count)
            }
            #expect(report.packets == 2)
            #expect(observer.packets().map(\.last) == [0, 2])
        }
    }

    @Test(arguments: Backend.allCases)
    func `a packet too long for the MTU is refused, never fragmented, and the rest still go`(
        backend: Backend
    ) throws {
        try backend.onFreshNetwork { io, sender, _ in
            try io.release()
            let observer = try RawObserver(Int32(IPPROTO_UDP), at: gatewayAddress)
            for size in [100, 1404, 1405, 5000, 200] {  // and 96 bytes of headers
                let inner = PacketBuilder.udp4(1, 2, [UInt8](repeating: 1, count: size))
                try sender.send(gatewayPacket(inner).bytes())
            }
            try Network.setLoopbackMTU(1500)
            var report = TransmitReport()
            _ = drain(&io) { io, count in
                for i in 0..<count { turnAround(io.frames + i) }
                report = io.transmit(count)
            }
            #expect(report == .of(packets: 3, bytes: 196 + 1500 + 296, refused: 2))
            #expect(observer.packets().map(\.count) == [196, 1500, 296])
        }
    }

    @Test(arguments: Backend.allCases)
    func `an answer is never fragmented, whatever MTU a path claims`(backend: Backend) throws {
        try backend.onFreshNetwork { io, sender, _ in
            try io.release()
            try sender.send(gatewayPacket(PacketBuilder.ipv4(protocolNumber: 253, large)).bytes())
            try Network.run("ip route add local 127.0.0.2 dev lo table local mtu 600")
            var report = TransmitReport()
            _ = drain(&io) { io, count in
                turnAround(io.frames)
                report = io.transmit(count)
            }
            #expect(report.packets == 1)
            // The 19th number of the Ip line is FragCreates.
            let ip = try Network.statistics("snmp").split(separator: "\n")[1]
            #expect(ip.split(separator: " ").dropFirst(19).first == "0", "\(ip)")
        }
    }

    private let large = [UInt8](repeating: 1, count: 1200)

    @Test(arguments: Backend.routed)
    func `an answer without a route is refused, and the rest still go`(backend: Backend) throws {
        try backend.onFreshNetwork { io, sender, _ in
            try io.release()
            for source in [0x0808_0808, gatewayAddress] {
                var packet = gatewayPacket()
                packet.source = source
                try sender.send(packet.bytes())
            }
            var report = TransmitReport()
            _ = drain(&io) { io, count in
                for i in 0..<count { turnAround(io.frames + i) }
                report = io.transmit(count)
            }
            #expect(report == .of(packets: 1, bytes: gatewayPacket().bytes().count, refused: 1))
        }
    }

    @Test(arguments: Backend.allCases)
    func `the waker ends a sleep at once`(backend: Backend) throws {
        try backend.onFreshNetwork { io, _, waker in
            let thread = DelayedThread(milliseconds: 50) { waker.wake() }
            let began = io.now()
            io.wait(milliseconds: 10_000)
            #expect(io.now() - began < 5_000_000_000)
            thread.join()
            // The wake-up is used up: the next sleep lasts.
            let again = io.now()
            io.wait(milliseconds: 30)
            #expect(io.now() - again >= 29_000_000)
        }
    }

    @Test(arguments: Backend.allCases)
    func `a packet ends a sleep at once`(backend: Backend) throws {
        try backend.onFreshNetwork { io, sender, _ in
            try io.release()
            try sender.send(gatewayPacket().bytes())
            let began = io.now()
            io.wait(milliseconds: 10_000)
            #expect(io.now() - began < 5_000_000_000)
            #expect(io.receive() == 1)
        }
    }
}
