import CSluice
import PacketIO
import SluiceTesting
import Testing
import Wire

@Suite("Backend udp", .enabled(if: Network.isAvailable, Network.requirement))
struct UDPSocketIOTests {
    @Test func `the outer header is written from what the kernel tells`() throws {
        try Backend.udp.onFreshNetwork { io, sender, _ in
            try io.release()
            var packet = gatewayPacket()
            packet.timeToLive = 200
            packet.typeOfService = 0x2E
            packet.sourcePort = 61_000
            try sender.send(packet.bytes())
            let frame = try #require(drain(&io).first)
            // Not known: ID, flags; not needed: the two checksums.
            packet.identification = 0
            packet.outerChecksum = .zero
            var expected = packet.bytes()
            expected.replaceSubrange(10..<12, with: [0, 0])
            #expect(frame.bytes == expected)
            #expect(
                frame.facts == [.headerVerified, .checksumVerified, .checksumOnTransmit])
        }
    }

    @Test func `outer options are gone, and a zero checksum is taken`() throws {
        try Backend.udp.onFreshNetwork { io, sender, _ in
            try io.release()
            var packet = gatewayPacket()
            packet.outerOptions = [1, 1, 1, 0]
            packet.outerChecksum = .zero
            try sender.send(packet.bytes())
            let frame = try #require(drain(&io).first)
            #expect(frame.bytes[0] == 0x45)
            #expect(frame.bytes.dropFirst(28) == packet.bytes().dropFirst(32))
        }
    }

    @Test func `the kernel drops a wrong outer checksum`() throws {
        try Backend.udp.onFreshNetwork { io, sender, _ in
            try io.release()
            var packet = gatewayPacket()
            packet.outerChecksum = .wrong
            try sender.send(packet.bytes())
            #expect(drain(&io).isEmpty)
        }
    }

    @Test func `the outer checksum is computed, or zero when asked`() throws {
        for isZero in [false, true] {
            try Backend.udp.onFreshNetwork({ $0.zeroOuterChecksum = isZero }) { io, sender, _ in
                try io.release()
                let observer = try RawObserver(Int32(IPPROTO_UDP), at: gatewayAddress)
                for size in 0..<4 {  // odd and even lengths
                    let inner = PacketBuilder.udp4(1, 2, [UInt8](repeating: 9, count: size))
                    try sender.send(gatewayPacket(inner).bytes())
                }
                _ = drain(&io) { io, count in
                    for i in 0..<count { turnAround(io.frames + i) }
                    _ = io.transmit(count)
                }
                let answers = observer.packets()
                #expect(answers.count == 4)
                for answer in answers {
                    let sum = transportChecksum(
                        Array(answer[12..<16]), Array(answer[16..<20]), 17, Array(answer[20...]))
                    #expect(isZero ? answer[26...27] == [0, 0] : sum == 0)
                }
            }
        }
    }

    @Test func `room counts from the written header to the end of the slot`() throws {
        try Backend.udp.onFreshNetwork({ $0.slotSize = 512 }) { io, sender, _ in
            try io.release()
            try sender.send(gatewayPacket().bytes())
            #expect(try #require(drain(&io).first).room == 512 - 64 + 28)
        }
    }
}

@Suite("Backend raw", .enabled(if: Network.isAvailable, Network.requirement))
struct RawSocketIOTests {
    @Test func `frames are the packets as they came`() throws {
        try Backend.raw.onFreshNetwork { io, sender, _ in
            try io.release()
            var packet = gatewayPacket()
            packet.typeOfService = 0x2E
            packet.outerOptions = [1, 1, 1, 0]
            for checksum in [.valid, .zero, .wrong] as [PacketBuilder.Checksum] {
                packet.outerChecksum = checksum
                try sender.send(packet.bytes())
                let frame = try #require(drain(&io).first)
                #expect(frame.bytes == packet.bytes())
                #expect(frame.facts == .headerVerified)
                #expect(frame.room == 9216 - 64)
            }
        }
    }

    @Test func `outer fragments arrive as one packet`() throws {
        try Backend.raw.onFreshNetwork { io, sender, _ in
            try io.release()
            let inner = PacketBuilder.udp4(1, 2, [UInt8](repeating: 3, count: 2000))
            let whole = gatewayPacket(inner).bytes()
            for (offset, end, more) in [(0, 800, true), (800, 1600, true), (1600, 2076, false)] {
                try sender.send(
                    PacketBuilder.ipv4(
                        source: gatewayAddress, destination: ourAddress, protocolNumber: 17,
                        Array(whole[(20 + offset)..<(20 + end)]), timeToLive: 255,
                        identification: 0x4242,
                        flagsAndOffset: UInt16(offset / 8) | (more ? 0x2000 : 0)))
            }
            #expect(drain(&io).map(\.bytes) == [whole])
        }
    }

    /// What the UDP layer would refuse, a raw socket sees: the filter must cope.
    @Test func `packets without a whole UDP header go to worker 0`() throws {
        for worker in 0..<2 {
            let change: (inout SocketOptions) -> Void = {
                $0.worker = worker
                $0.workers = 2
            }
            try Backend.raw.onFreshNetwork(change) { io, sender, _ in
                try io.release()
                for size in 0..<4 {
                    try sender.send(
                        PacketBuilder.ipv4(
                            source: gatewayAddress, destination: ourAddress, protocolNumber: 17,
                            [UInt8](repeating: 0x17, count: size)))
                }
                #expect(drain(&io).map(\.bytes.count) == (worker == 0 ? [20, 21, 22, 23] : []))
            }
        }
    }
}

@Suite("The port sink", .enabled(if: Network.isAvailable, Network.requirement))
struct PortSinkTests {
    @Test func `a second one is refused, and any other owner of the port is noticed`() throws {
        try Network.isolated {
            let sink = try PortSink(address: 0)
            let error = #expect(throws: IOFailure.self) { _ = try PortSink(address: 0) }
            #expect(error?.errno == EADDRINUSE)
            #expect(error?.description == "cannot bind UDP port 6081: Address already in use")
            #expect(throws: IOFailure.self) { _ = try UDPSocketIO(socketOptions()) }
            withExtendedLifetime(sink) {}
        }
        try Network.isolated {
            let io = try UDPSocketIO(socketOptions())
            #expect(throws: IOFailure.self) { _ = try PortSink(address: 0) }
            withExtendedLifetime(io) {}
        }
    }

    /// `udp` on one address: a sink for the others that does not stand in its way.
    @Test func `a shared one leaves its address to the group and takes the rest`() throws {
        try Network.isolated {
            let sink = try PortSink(address: 0, sharing: true)
            let icmp = try RawObserver(Int32(IPPROTO_ICMP), at: 0)
            let sender = try RawSender()
            var io = try Backend.udp.open(socketOptions())
            try io.release()
            var elsewhere = gatewayPacket()
            elsewhere.destination = 0x7F00_0009
            for packet in [gatewayPacket(), elsewhere, gatewayPacket(), elsewhere] {
                try sender.send(packet.bytes())
            }
            #expect(drain(&io).count == 2)
            #expect(icmp.packets().isEmpty)
            withExtendedLifetime(sink) {}
        }
    }

    @Test func `with it no port unreachable leaves, whatever comes in`() throws {
        try Network.isolated {
            let icmp = try RawObserver(Int32(IPPROTO_ICMP), at: 0)
            let sender = try RawSender()
            try sender.send(gatewayPacket().bytes())
            #expect(icmp.packets().count == 1, "without the sink one does: this test sees it")
            let sink = try PortSink(address: 0)
            for _ in 0..<50 { try sender.send(gatewayPacket().bytes()) }
            try sender.send(gatewayPacket([]).bytes())
            var zero = gatewayPacket()
            zero.outerChecksum = .zero
            try sender.send(zero.bytes())
            #expect(icmp.packets().isEmpty)
            // It keeps nothing: its queue (…:17C1 is port 6081) is empty.
            let line = try Network.statistics("udp").split(separator: "\n").dropFirst().first
            let columns = try #require(line).split(separator: " ")
            #expect(columns[1].hasSuffix(":17C1") && columns[4] == "00000000:00000000")
            withExtendedLifetime(sink) {}
        }
    }

    @Test(arguments: Backend.allCases)
    func `the backends leave no gap for a port unreachable either`(backend: Backend) throws {
        try Network.isolated {
            let icmp = try RawObserver(Int32(IPPROTO_ICMP), at: 0)
            let sender = try RawSender()
            // `udp` sockets are takers themselves.
            let sink = backend.traits.takesPort ? nil : try PortSink(address: ourAddress)
            var io = try backend.open(socketOptions())
            try sender.send(gatewayPacket().bytes())
            try io.release()
            try sender.send(gatewayPacket().bytes())
            #expect(drain(&io).count == 1)
            #expect(icmp.packets().isEmpty)
            withExtendedLifetime(sink) {}
        }
    }
}
