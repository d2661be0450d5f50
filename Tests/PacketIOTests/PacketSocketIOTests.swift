import CSluice
import Glibc
import PacketIO
import SluiceTesting
import Synchronization
import Testing
import Wire

/// A cable: what is sent at `gw0` comes in at `ap0`, where the backend is, and the other way round.
/// Both ends are in one namespace: no routing is on the way.
struct Cable: ~Copyable {
    static let ours: UInt32 = 0x0A4D_0002
    static let gateway: UInt32 = 0x0A4D_0001

    private var sender: PacketSender
    private var observer: PacketReceiveRing
    let ourMAC: [UInt8]
    let gatewayMAC: [UInt8]

    /// Runs `body` in a fresh namespace with a cable.
    static func plugged<R>(_ body: (inout Cable) throws -> R) throws -> R {
        try Network.isolated {
            try Network.set("ipv6/conf/all/disable_ipv6", "1")
            try Network.set("ipv6/conf/default/disable_ipv6", "1")
            var cable = try Cable()
            return try body(&cable)
        }
    }

    init() throws {
        try Network.run(
            """
            ip link add ap0 mtu 9001 address 02:00:00:00:00:02 type veth \
            peer name gw0 mtu 9001 address 02:00:00:00:00:01 && \
            ip addr add 10.77.0.2/24 dev ap0 && ip link set gw0 up && ip link set ap0 up
            """)
        let index = Int32(if_nametoindex("gw0"))
        let sender = try PacketSender(interface: index, burst: 8)
        var options = PacketRingOptions()
        options.interface = index
        options.frames = 64
        options.frameSize = 16_384
        let observer = try PacketReceiveRing(options)
        try observer.listen()
        self.sender = sender
        self.observer = observer
        ourMAC = [2, 0, 0, 0, 0, 2]
        gatewayMAC = [2, 0, 0, 0, 0, 1]
    }

    /// Sends an IPv4 packet to the appliance's end, in a frame as the arguments say.
    mutating func send(
        _ packet: [UInt8], to mac: [UInt8]? = nil, type: [UInt8] = [0x08, 0x00]
    ) throws {
        let frame = (mac ?? ourMAC) + gatewayMAC + type + packet
        let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: frame.count, alignment: 16)
        defer { bytes.deallocate() }
        bytes.copyBytes(from: frame)
        sender.add(bytes.baseAddress!, length: frame.count)
        let report = sender.flush()
        try #require(report.packets == 1)
    }

    /// The frames that have come back.
    mutating func received() -> [[UInt8]] {
        var frames: [[UInt8]] = []
        while let slot = observer.next() {
            let frame = UnsafeRawBufferPointer(start: slot.bytes, count: slot.length)
            if !frame.starts(with: [0xFF]) { frames.append(Array(frame)) }
        }
        observer.giveBack()
        return frames
    }
}

private func options(
    _ change: (inout SocketOptions) -> Void = { _ in }
) throws -> SocketOptions {
    try socketOptions {
        $0.address = Cable.ours
        $0.interfaces = ["ap0"]
        $0.receiveBuffer = 64 * 9216
        change(&$0)
    }
}

private func cablePacket(
    _ inner: [UInt8] = PacketBuilder.udp4(40_000, 3000, [1, 2, 3])
) -> PacketBuilder {
    var builder = PacketBuilder(inner)
    builder.source = Cable.gateway
    builder.destination = Cable.ours
    builder.identification = 0x4242
    return builder
}

/// What the worker does to every answer of a burst.
private func answerAll(_ io: inout AnyBackend, _ count: Int) -> TransmitReport {
    for i in 0..<count { turnAround(io.frames + i) }
    return io.transmit(count)
}

@Suite("Backend packet", .enabled(if: Network.isAvailable, Network.requirement))
struct PacketSocketIOTests {
    @Test func `frames are the packets as they came`() throws {
        try Cable.plugged { cable in
            var io: AnyBackend = try PacketSocketIO(options())
            try io.release()
            var packet = cablePacket()
            packet.typeOfService = 0x2E
            packet.outerOptions = [1, 1, 1, 0]
            for checksum in [.valid, .zero, .wrong] as [PacketBuilder.Checksum] {
                packet.outerChecksum = checksum
                try cable.send(packet.bytes())
                let frame = try #require(drain(&io).first)
                #expect(frame.bytes == packet.bytes())
                #expect(frame.facts == [])
                #expect(frame.room == 9216 - 80)
            }
        }
    }

    @Test func `an answer is its packet with both pairs of addresses swapped`() throws {
        try Cable.plugged { cable in
            var io: AnyBackend = try PacketSocketIO(options())
            try io.release()
            var packet = cablePacket()
            packet.timeToLive = 3
            packet.flagsAndOffset = 0x4000
            packet.outerOptions = [1, 1, 1, 0]
            try cable.send(packet.bytes())
            var report = TransmitReport()
            _ = drain(&io) { report = answerAll(&$0, $1) }
            #expect(report == .of(packets: 1, bytes: packet.bytes().count))
            swap(&packet.source, &packet.destination)
            #expect(
                cable.received()
                    == [cable.gatewayMAC + cable.ourMAC + [0x08, 0x00] + packet.bytes()])
        }
    }

    @Test func `an answer may grow into its slot, up to the MTU`() throws {
        try Cable.plugged { cable in
            var io: AnyBackend = try PacketSocketIO(options())
            try io.release()
            for size in [8000, 8000] { try cable.send(self.packet(ofSize: size)) }
            var report = TransmitReport()
            _ = drain(&io) { io, count in
                for (i, length) in [9001, 9002].enumerated() {
                    io.frames[i].length = Int32(length)
                }
                report = answerAll(&io, count)
            }
            #expect(report == .of(packets: 1, bytes: 9001, refused: 1))
            #expect(cable.received().map(\.count) == [9015])
        }
    }

    private func packet(ofSize size: Int) -> [UInt8] {
        let payload = [UInt8](repeating: 7, count: size - 96)
        return cablePacket(PacketBuilder.udp4(1, 2, payload)).bytes()
    }

    @Test func `outer fragments arrive as one packet, in any order`() throws {
        try Cable.plugged { cable in
            var io: AnyBackend = try PacketSocketIO(options())
            try io.release()
            let whole = packet(ofSize: 2096)
            for order in [[0, 1, 2], [2, 0, 1], [1, 2, 0]] {
                for part in order {
                    let range = (20 + part * 800)..<min(20 + part * 800 + 800, whole.count)
                    try cable.send(
                        PacketBuilder.ipv4(
                            source: Cable.gateway, destination: Cable.ours, protocolNumber: 17,
                            Array(whole[range]), timeToLive: 255, identification: 0x4242,
                            flagsAndOffset: UInt16(part * 100) | (part < 2 ? 0x2000 : 0)))
                }
                var report = TransmitReport()
                let received = drain(&io) { report = answerAll(&$0, $1) }
                try #require(received.map(\.bytes) == [whole], "\(order)")
                #expect(report == .of(packets: 1, bytes: whole.count))
                let answer = try #require(cable.received().first)
                #expect(answer[0..<14] == (cable.gatewayMAC + cable.ourMAC + [8, 0])[...])
                #expect(answer.dropFirst(14 + 20) == whole.dropFirst(20))
            }
        }
    }

    @Test func `only whole UDP packets to port 6081 that are for us come in`() throws {
        try Cable.plugged { cable in
            var io: AnyBackend = try PacketSocketIO(options { $0.address = 0 })
            try io.release()
            let bytes = cablePacket().bytes()
            var changed = cablePacket()
            changed.destination = 0x0A4D_0003
            try cable.send(changed.bytes())
            changed = cablePacket()
            changed.destinationPort = 53
            try cable.send(changed.bytes())
            changed = cablePacket()
            changed.flagsAndOffset = 100  // the last fragment of something
            try cable.send(changed.bytes())
            var tcp = bytes
            tcp[9] = 6
            try cable.send(tcp)
            try cable.send(bytes, to: [2, 0, 0, 0, 0, 9])  // another host's
            try cable.send(bytes, to: [UInt8](repeating: 0xFF, count: 6))
            try cable.send(bytes, to: [1, 0, 0x5E, 0, 0, 1])  // multicast
            try cable.send(bytes, type: [0x86, 0xDD])
            try cable.send(Array(bytes[0..<23]))  // no port to read
            try cable.send(bytes, type: [0x81, 0x00, 0x00, 0x0A, 0x08, 0x00])  // VLAN 10
            #expect(drain(&io).isEmpty)
            // A tag of VLAN 0 is a priority only.
            try cable.send(bytes, type: [0x81, 0x00, 0xE0, 0x00, 0x08, 0x00])
            try cable.send(bytes)
            #expect(drain(&io).map(\.bytes) == [bytes, bytes])
        }
    }

    @Test(arguments: [false, true])
    func `what this host sends never comes in`(bypassesQdisc: Bool) throws {
        try Cable.plugged { cable in
            var io: AnyBackend = try PacketSocketIO(options { $0.bypassesQdisc = bypassesQdisc })
            try io.release()
            // From our end, with our own address as its destination.
            var sender = try PacketSender(
                interface: Int32(if_nametoindex("ap0")), burst: 1, bypassesQdisc: bypassesQdisc)
            var frame = cable.ourMAC + cable.ourMAC + [8, 0] + cablePacket().bytes()
            frame.withUnsafeMutableBytes { sender.add($0.baseAddress!, length: $0.count) }
            #expect(sender.flush().packets == 1)
            #expect(drain(&io).isEmpty)
            #expect(cable.received().count == 1, "it did leave")
        }
    }

    /// Local taps sit at the queueing discipline.
    @Test func `the queueing discipline is passed by, or not, as asked`() throws {
        for bypassesQdisc in [false, true] {
            try Cable.plugged { cable in
                let sink = try PortSink(address: 0)  // no ICMP among what is seen
                var io: AnyBackend = try PacketSocketIO(
                    options { $0.bypassesQdisc = bypassesQdisc })
                try io.release()
                var ring = PacketRingOptions()
                ring.interface = Int32(if_nametoindex("ap0"))
                ring.frames = 8
                ring.ignoresOutgoing = false
                var tap = try PacketReceiveRing(ring)
                try tap.listen()
                try cable.send(cablePacket().bytes())
                _ = drain(&io) { _ = answerAll(&$0, $1) }
                #expect(cable.received().count == 1)
                var seen = 0
                while let slot = tap.next() {
                    if Int32(slot.address.pointee.sll_pkttype) == PACKET_OUTGOING { seen += 1 }
                }
                #expect(seen == (bypassesQdisc ? 0 : 1))
                withExtendedLifetime(sink) {}
            }
        }
    }

    @Test func `addresses that come and go are followed`() throws {
        try Cable.plugged { cable in
            let options = try options { $0.address = 0 }
            let watch = try HostWatch()
            var io = try PacketSocketIO(options)
            try io.release()
            var changed = watch.hasChanged()
            #expect(!changed)
            var packet = cablePacket()
            packet.destination = 0x0A4D_0005
            for (command, isOurs) in [("true", false), ("add", true), ("del", false)] {
                if command != "true" {
                    try Network.run("ip addr \(command) 10.77.0.5/24 dev ap0")
                    changed = watch.hasChanged()
                    #expect(changed)
                    changed = watch.hasChanged()
                    #expect(!changed, "each change is told once")
                    try PacketSocketIO.follow(io.socketDescriptor, options)
                }
                try cable.send(packet.bytes())
                try cable.send(cablePacket([0x45]).bytes())
                let destinations = (0..<io.receive()).map {
                    io.frames[$0].base.load(as: UInt8.self)
                }
                #expect(destinations.count == (isOurs ? 2 : 1), "\(command)")
            }
        }
    }

    @Test func `an address that goes is served no longer, though it was asked for`() throws {
        try Cable.plugged { cable in
            let options = try options()
            var io = try PacketSocketIO(options)
            try io.release()
            try Network.run("ip addr del 10.77.0.2/24 dev ap0")
            try PacketSocketIO.follow(io.socketDescriptor, options)
            try cable.send(cablePacket().bytes())
            #expect(io.receive() == 0)
        }
    }

    @Test func `frames that find no free slot are counted, each once`() throws {
        try Cable.plugged { cable in
            var io = try PacketSocketIO(options { $0.receiveBuffer = 9216 })
            try io.release()
            let slots = io.ringByteCount / 9216
            var lost: UInt64 = 0
            for _ in 0..<2 {
                for _ in 0..<(slots + 5) { try cable.send(cablePacket().bytes()) }
                lost += 5
                #expect(io.kernelDrops == lost)
                var taken = 0
                while case let n = io.receive(), n > 0 { taken += n }
                #expect(taken == slots)
            }
        }
    }

    /// A sender on this host may leave the checksum to a network card that is not there.
    @Test(arguments: [0, 1, 7, 1000])
    func `a partial checksum is completed`(size: Int) throws {
        try Cable.plugged { cable in
            var io: AnyBackend = try PacketSocketIO(options())
            try io.release()
            let whole = cablePacket(
                PacketBuilder.udp4(1, 2, [UInt8](repeating: 0x5A, count: size))
            ).bytes()
            try sendPartial(cable.ourMAC + cable.gatewayMAC + [8, 0] + whole)
            let frame = try #require(drain(&io).first)
            #expect(frame.bytes == whole)
            #expect(frame.facts == .checksumVerified)
        }
    }

    /// Sends at gw0 a frame whose UDP checksum holds the pseudo-header's sum only, and says so
    /// (virtio_net_hdr: VIRTIO_NET_HDR_F_NEEDS_CSUM, start, offset).
    private func sendPartial(_ frame: [UInt8]) throws {
        let socket = try FileDescriptor.socket(
            AF_PACKET, Int32(SOCK_RAW.rawValue), 0, "a packet socket")
        try socket.set(SOL_PACKET, PACKET_VNET_HDR, 1, "PACKET_VNET_HDR")
        guard sluice_bind_packet(socket.raw, 0, Int32(if_nametoindex("gw0"))) == 0 else {
            throw IOFailure("bind")
        }
        let length = UInt32(frame.count - 34)
        var sum = length + 17
        for i in stride(from: 26, to: 34, by: 2) {
            sum += UInt32(frame[i]) << 8 | UInt32(frame[i + 1])
        }
        while sum > 0xFFFF { sum = sum >> 16 + sum & 0xFFFF }
        var partial = frame
        partial.replaceSubrange(40..<42, with: [UInt8(sum >> 8), UInt8(sum & 0xFF)])
        let header: [UInt8] = [1, 0, 0, 0, 0, 0, 34, 0, 6, 0]
        let bytes = header + partial
        guard send(socket.raw, bytes, bytes.count, 0) == bytes.count else {
            throw IOFailure("send")
        }
    }

    @Test func `a checksum that the sender's card has verified need not be verified again`() throws
    {
        try Cable.plugged { cable in
            var io: AnyBackend = try PacketSocketIO(options())
            try io.release()
            // VIRTIO_NET_HDR_F_DATA_VALID is what a card says of a packet that it has checked.
            let socket = try FileDescriptor.socket(
                AF_PACKET, Int32(SOCK_RAW.rawValue), 0, "a packet socket")
            try socket.set(SOL_PACKET, PACKET_VNET_HDR, 1, "PACKET_VNET_HDR")
            _ = sluice_bind_packet(socket.raw, 0, Int32(if_nametoindex("gw0")))
            let frame = cable.ourMAC + cable.gatewayMAC + [8, 0] + cablePacket().bytes()
            let bytes: [UInt8] = [2, 0, 0, 0, 0, 0, 0, 0, 0, 0] + frame
            #expect(send(socket.raw, bytes, bytes.count, 0) == bytes.count)
            let received = try #require(drain(&io).first)
            #expect(received.bytes == cablePacket().bytes())
        }
    }

    @Test func `answers leave by the interface that their packet came in`() throws {
        try Cable.plugged { cable in
            try Network.run(
                """
                ip link add ap1 address 02:00:00:00:01:02 type veth peer name gw1 && \
                ip link set gw1 up && ip link set ap1 up
                """)
            var io: AnyBackend = try PacketSocketIO(options { $0.interfaces = ["ap1", "ap0"] })
            try io.release()
            var ring = PacketRingOptions()
            ring.interface = Int32(if_nametoindex("gw1"))
            ring.frames = 8
            var other = try PacketReceiveRing(ring)
            try other.listen()
            var sender = try PacketSender(interface: ring.interface, burst: 1)
            var frame = [2, 0, 0, 0, 1, 2] + cable.gatewayMAC + [8, 0] + cablePacket().bytes()
            frame.withUnsafeMutableBytes { sender.add($0.baseAddress!, length: $0.count) }
            #expect(sender.flush().packets == 1)
            try cable.send(cablePacket().bytes())
            var packets = 0
            _ = drain(&io) { packets += answerAll(&$0, $1).packets }
            #expect(packets == 2)
            #expect(cable.received().count == 1)
            guard let answer = other.next() else {
                Issue.record("no answer on the second interface")
                return
            }
            let source = UnsafeRawBufferPointer(start: answer.bytes + 6, count: 6)
            #expect(Array(source) == [2, 0, 0, 0, 1, 2])
            let isOne = other.next() == nil
            #expect(isOne)
        }
    }

    @Test func `an interface may go down and up again, or go and be made anew`() throws {
        try Cable.plugged { cable in
            let fanout = FanoutGroup()
            var sockets: [Int32] = []
            var workers = try (0..<2).map { worker in
                let io = try PacketSocketIO(
                    options {
                        $0.worker = worker
                        $0.workers = 2
                        $0.fanout = fanout
                    })
                sockets.append(io.socketDescriptor)
                return Box(io)
            }
            for worker in workers { try worker.io.release() }
            let bytes = HostileBytes.valid
            func check() throws {
                for packet in bytes { try cable.send(packet) }
                let received = workers.map { drain(&$0.io).map(\.bytes) }
                let expected = (0..<2).map { worker in
                    bytes.filter { packet in
                        var packet = packet
                        return withPacketView(&packet) {
                            Steering.worker(of: $0, from: .outerIPv4, workers: 2)
                        } == worker
                    }
                }
                #expect(received == expected)
            }
            try check()
            try Network.run("ip link set ap0 down")
            for worker in workers {
                let began = worker.io.now()
                worker.io.wait(milliseconds: 100)
                worker.io.wait(milliseconds: 100)
                #expect(worker.io.receive() == 0)
                #expect(worker.io.now() - began >= 90_000_000, "being down is no reason to spin")
            }
            try Network.run("ip link set ap0 up")
            try check()
            try Network.run("ip link del ap0")
            for worker in workers {
                worker.io.wait(milliseconds: 100)
                #expect(worker.io.receive() == 0)
            }
            var again = try Cable()
            for socket in sockets { try PacketSocketIO.follow(socket, options()) }
            for packet in bytes { try again.send(packet) }
            #expect(workers.reduce(0) { $0 + drain(&$1.io).count } == bytes.count)
            workers.removeAll()
        }
    }
}

@Suite("What a card counts", .enabled(if: Network.isAvailable, Network.requirement))
struct CardStatisticsTests {
    @Test func `names and values are those of ethtool`() throws {
        try Cable.plugged { _ in
            var names = [CChar](repeating: 0, count: 512 * 32)
            var values = [UInt64](repeating: 0, count: 512)
            let count = Int(sluice_card_statistics("ap0", &names, &values, 512))
            try #require(count > 0)
            let lines = (0..<count).map { i in
                let bytes = names[i * 32..<(i + 1) * 32].prefix { $0 != 0 }
                return String(decoding: bytes.map { UInt8(bitPattern: $0) }, as: UTF8.self)
                    + ": \(values[i])"
            }
            let expected = try Network.output("ethtool -S ap0").split(separator: "\n").dropFirst()
                .map { String($0.drop { $0 == " " }) }
            #expect(lines == expected)
            #expect(sluice_card_statistics("ap0", &names, &values, Int32(count - 1)) == -E2BIG)
            #expect(sluice_card_statistics("none", &names, &values, 512) == -ENODEV)
        }
    }
}

@Suite("The drop hook", .enabled(if: Network.isAvailable, Network.requirement))
struct DropHookTests {
    private func rules() throws -> String { try Network.output("nft list ruleset") }

    @Test func `it is there while it is open, with every interface and address, and then gone`()
        throws
    {
        try Cable.plugged { _ in
            do {
                let hook = try DropHook(
                    interfaces: ["ap0", "gw0"], addresses: [Cable.ours, Cable.gateway],
                    followsChanges: false)
                let text = try rules()
                #expect(text.contains("table netdev sluice-\(getpid())"))
                #expect(text.contains("flags owner"))
                #expect(text.contains("ap0") && text.contains("gw0"))
                #expect(text.contains("0xa4d0002") && text.contains("0xa4d0001"))
                #expect(text.split(separator: "\n").filter { $0.hasSuffix(" drop") }.count == 4)
                #expect(!text.contains("fib"))
                try Network.run("nft flush ruleset")
                #expect(try rules().contains("flags owner"), "nobody else removes it")
                withExtendedLifetime(hook) {}
            }
            // The kernel removes a table after its owner's socket has closed.
            for _ in 0..<100 where try rules().contains("sluice") { usleep(50_000) }
            #expect(try !rules().contains("sluice"))
        }
    }

    /// The stack's view, through a UDP socket on each port.
    @Test func `it drops Geneve for our addresses on our interface, and nothing else`() throws {
        try Cable.plugged { cable in
            try Network.set("ipv4/conf/all/rp_filter", "0")
            try Network.set("ipv4/conf/ap0/rp_filter", "0")
            try Network.run("ip addr add 10.77.0.3/24 dev ap0")
            var sockets: [UInt16: Int32] = [:]
            for port in [6081, 6082] as [UInt16] {
                let socket = try FileDescriptor.socket(
                    AF_INET, Int32(SOCK_DGRAM.rawValue), 0, "a socket")
                try socket.bind(address: 0, port: port, "bind")
                sockets[port] = socket.raw
                socket.keepUntilExit()
            }
            defer { for socket in sockets.values { close(socket) } }
            func arrive(_ change: (inout PacketBuilder) -> Void) throws -> Bool {
                var packet = cablePacket()
                change(&packet)
                try cable.send(packet.bytes())
                var byte: UInt8 = 0
                var arrived = false
                for socket in sockets.values {
                    if isReadable(socket, milliseconds: 20) {
                        arrived = recv(socket, &byte, 1, Int32(MSG_DONTWAIT)) >= 0
                    }
                }
                return arrived
            }
            #expect(try arrive { _ in }, "without the hook")
            let hook = try DropHook(
                interfaces: ["ap0"], addresses: [Cable.ours], followsChanges: false)
            #expect(try !arrive { _ in })
            #expect(try !arrive { $0.outerOptions = [1, 1, 1, 0] })
            #expect(try arrive { $0.destinationPort = 6082 })
            #expect(try arrive { $0.destination = 0x0A4D_0003 }, "not one of the addresses")
            #expect(try arrive { $0.flagsAndOffset = 0x2000 } == false, "half a datagram")
            withExtendedLifetime(hook) {}
        }
    }

    @Test func `addresses that come later are dropped for, too`() throws {
        try Cable.plugged { cable in
            let hook = try DropHook(
                interfaces: ["ap0"], addresses: [Cable.ours], followsChanges: true)
            let sink = try PortSink(address: 0)
            let before = try inputErrors()
            try Network.run("ip addr add 10.77.0.4/24 dev ap0")
            var packet = cablePacket()
            packet.destination = 0x0A4D_0004
            for _ in 0..<10 { try cable.send(packet.bytes()) }
            #expect(try inputErrors() == before, "none reached the sink")
            withExtendedLifetime(hook) { withExtendedLifetime(sink) {} }
        }
    }

    @Test func `fragments are the tap's and the sink's: none stays in the stack's queues`() throws {
        try Cable.plugged { cable in
            let hook = try DropHook(
                interfaces: ["ap0"], addresses: [Cable.ours], followsChanges: true)
            let sink = try PortSink(address: 0)
            let icmp = try RawObserver(Int32(IPPROTO_ICMP), at: 0)
            var io: AnyBackend = try PacketSocketIO(options())
            try io.release()
            for id in 1...20 as ClosedRange<UInt16> {
                let inner = PacketBuilder.udp4(1, 2, [UInt8](repeating: 0, count: 1400))
                let datagram = Array(cablePacket(inner).bytes()[20...])
                for (offset, end) in [(0, 800), (800, datagram.count)] {
                    try cable.send(
                        PacketBuilder.ipv4(
                            source: Cable.gateway, destination: Cable.ours, protocolNumber: 17,
                            Array(datagram[offset..<end]), identification: id,
                            flagsAndOffset: UInt16(offset / 8) | (offset == 0 ? 0x2000 : 0)))
                }
            }
            #expect(drain(&io).count == 20)
            let line = try #require(
                try Network.statistics("sockstat").split(separator: "\n").first {
                    $0.hasPrefix("FRAG")
                })
            #expect(line == "FRAG: inuse 0 memory 0")
            #expect(icmp.packets().isEmpty)
            withExtendedLifetime(hook) { withExtendedLifetime(sink) {} }
        }
    }

    /// Udp InErrors: what a socket's filter drops.
    private func inputErrors() throws -> String {
        let lines = try Network.statistics("snmp").split(separator: "\n").filter {
            $0.hasPrefix("Udp:")
        }
        return lines[1].split(separator: " ").prefix(5).joined(separator: " ")
    }

    @Test func `without the right to it the error says so`() throws {
        try Network.isolated {
            let failure = Mutex<IOFailure?>(nil)
            // Capabilities are a thread's own.
            let thread = DelayedThread(milliseconds: 0) {
                guard sluice_drop_capabilities() == 0 else { return }
                do throws(IOFailure) {
                    _ = try DropHook(interfaces: ["lo"], addresses: [], followsChanges: true)
                } catch {
                    failure.withLock { $0 = error }
                }
            }
            thread.join()
            let error = failure.withLock { $0 }
            #expect(error?.isPermission == true)
            #expect(error?.description.contains("nf_tables") == true)
        }
    }
}

/// Puts a packet backend into an array.
private final class Box {
    var io: AnyBackend
    init(_ io: consuming AnyBackend) { self.io = io }
}
