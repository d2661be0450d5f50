import CSluice
import PacketIO
import SluiceTesting
import Testing
import Wire

/// "Exactly one worker accepts, and the same one that the Swift hash names", over valid, hostile
/// and random bytes, with the programs run by the kernel on sockets.
@Suite("Steering")
struct SteeringTests {
    static let workerCounts = [1, 2, 3, 4, 8, 32]
    /// As tests have it, keyed, and by addresses alone.
    static let hashes = [
        FlowHash(), FlowHash(key: 0xC0FF_EE11), FlowHash(key: 0x1234_5678, coversPorts: false),
    ]

    @Test(arguments: workerCounts)
    func `the kernel accepts any bytes on the one worker that Swift names`(workers: Int) throws {
        let hash = SteeringTests.hashes[workers % 3]
        let filters = try (0..<workers).map {
            try KernelFilter(Steering.filter(worker: $0, workers: workers, hash: hash))
        }
        for packet in HostileBytes.all(seed: UInt64(workers)) + HostileBytes.errors {
            let expected = worker(packet, .outerIPv4, workers, hash)
            let accepting = try (0..<workers).filter { try filters[$0].accepts(packet) }
            try #require(accepting == (expected.map { [$0] } ?? []), "\(packet)")
            if let expected {
                try #require(try filters[expected].run(packet) == packet.count, "kept whole")
            }
        }
    }

    /// A selector returns the worker's index, which as a socket filter is the length kept.
    @Test(arguments: [2, 8], hashes)
    func `a selector returns the index of the worker that Swift names`(
        workers: Int, hash: FlowHash
    ) throws {
        for (start, skip) in [(Steering.Start.outerIPv4, 0), (.geneve, 28)] {
            let selector = try KernelFilter(
                Steering.selector(from: start, workers: workers, hash: hash))
            for packet in HostileBytes.all(seed: UInt64(workers)) + HostileBytes.errors {
                let bytes = Array(packet.dropFirst(skip))
                let expected = worker(bytes, start, workers, hash) ?? 0
                let kept = try selector.run(bytes) ?? 0
                try #require(kept == min(expected, bytes.count), "\(bytes)")
            }
        }
    }

    @Test func `the hostile bytes reach every outcome`() {
        var named = Set<Int?>()
        for packet in HostileBytes.all(seed: 8) { named.insert(worker(packet, .outerIPv4, 8)) }
        #expect(named == Set([nil] + (0..<8).map { $0 }))
    }

    @Test func `UDP to another port is nobody's`() {
        var builder = PacketBuilder(HostileBytes.inner[0])
        builder.sourcePort = 6081
        builder.destinationPort = 53
        #expect(worker(builder.bytes(), .outerIPv4, 4) == nil)
    }

    @Test func `what cannot be read is worker 0's`() {
        let geneve = Array(HostileBytes.valid[0][28...])
        for length in 0..<(40 + 20 + 4) {
            #expect(worker(Array(geneve[0..<length]), .geneve, 32) == 0)
        }
    }

    @Test(arguments: [2, 4, 8, 32])
    func `both directions of a flow meet at one worker`(workers: Int) {
        var random = SeededGenerator(seed: 3)
        for _ in 0..<200 {
            let there = Flow4(using: &random)
            let back = there.turned
            #expect(worker(of: there.udp, workers) == worker(of: back.udp, workers))
            #expect(worker(of: there.tcp, workers) == worker(of: back.tcp, workers))
            #expect(worker(of: there.ping, workers) == worker(of: back.ping, workers))
        }
    }

    @Test func `both directions of an IPv6 flow meet at one worker`() {
        let (one, two) = (PacketBuilder.address6(1), PacketBuilder.address6(2))
        for chain in HostileBytes.chains {
            for port in 1024..<1060 as Range<UInt16> {
                let there = PacketBuilder.udp(source: one, destination: two, port, 53, [1])
                let back = PacketBuilder.udp(source: two, destination: one, 53, port, [1])
                #expect(
                    worker(of: six(one, two, there, chain))
                        == worker(of: six(two, one, back, chain)))
            }
        }
    }

    @Test func `all fragments of a datagram meet at one worker`() {
        let first = PacketBuilder.udp4(40_000, 3000, [1], flagsAndOffset: 0x2000)
        let later = PacketBuilder.ipv4(protocolNumber: 17, [9, 9, 9], flagsAndOffset: 0x00B9)
        #expect(worker(of: first) == worker(of: later))
        let first6 = PacketBuilder.udp6(
            40_000, 3000, [1], extensions: [PacketBuilder.fragmentHeader(offset: 0, more: true)])
        let later6 = PacketBuilder.ipv6(
            nextHeader: 17, [9, 9, 9],
            extensions: [PacketBuilder.fragmentHeader(offset: 1480, more: false)])
        #expect(worker(of: first6) == worker(of: later6))
    }

    @Test func `a fragment of IPv6 that names another next header goes where the others go`() {
        let others = ([17, 59, 6, 0] as [UInt8]).map { next in
            worker(
                of: PacketBuilder.ipv6(
                    nextHeader: next, [9, 9, 9],
                    extensions: [PacketBuilder.fragmentHeader(offset: 1480, more: false)]))
        }
        #expect(Set(others).count == 1)
    }

    @Test(arguments: hashes) func `an ICMP error meets the flow that it is about`(hash: FlowHash) {
        var random = SeededGenerator(seed: 5)
        for _ in 0..<200 {
            let flow = Flow4(using: &random)
            for packet in [flow.udp, flow.tcp, flow.ping] {
                let error = PacketBuilder.ipv4(
                    source: .random(in: 0...(.max), using: &random), destination: flow.source,
                    protocolNumber: 1, [3, 4, 0, 0, 0, 0, 5, 0] + packet.prefix(28))
                #expect(worker(of: error, 32, hash) == worker(of: packet, 32, hash))
            }
        }
        let sent = PacketBuilder.udp6(9, 53, [1])
        let error = PacketBuilder.ipv6(
            source: PacketBuilder.address6(9), nextHeader: 58, [2, 0, 0, 0, 0, 0, 5, 0] + sent)
        #expect(worker(of: error, 32, hash) == worker(of: sent, 32, hash))
    }

    @Test func `steered by addresses, fragments meet their flow`() {
        let hash = FlowHash(key: 7, coversPorts: false)
        var random = SeededGenerator(seed: 5)
        for _ in 0..<200 {
            let flow = Flow4(using: &random)
            var fragment = flow.udp
            fragment[6] = 0x20
            #expect(worker(of: fragment, 32, hash) == worker(of: flow.udp, 32, hash))
            #expect(worker(of: flow.tcp, 32, hash) == worker(of: flow.udp, 32, hash))
        }
        let six = { worker(of: PacketBuilder.udp6(9, 53, [1], extensions: $0), 32, hash) }
        #expect(Set(HostileBytes.chains.map(six)).count == 1)
    }

    /// Of flows that were chosen for one worker of a hash without a key, each has its share of all.
    @Test(arguments: [true, false]) func `who does not know the key aims at nobody`(ports: Bool) {
        var random = SeededGenerator(seed: 21)
        let known = FlowHash(coversPorts: ports)
        var chosen: [[UInt8]] = []
        while chosen.count < 300 {
            let packet = Flow4(using: &random).tcp
            if worker(of: packet, 8, known) == 3 { chosen.append(packet) }
        }
        var load = [Int](repeating: 0, count: 8)
        let keyed = FlowHash(key: 0x5EED_CAFE, coversPorts: ports)
        for packet in chosen { load[worker(of: packet, 8, keyed)!] += 1 }
        #expect(load.allSatisfy { $0 > 15 && $0 < 75 }, "\(load)")
    }

    @Test func `endpoint, cookie, attachment and outer header do not steer`() {
        var builder = PacketBuilder(HostileBytes.inner[0])
        let usual = worker(builder.bytes(), .outerIPv4, 32)
        builder.options = [
            .cookie(7), .endpoint(8), PacketBuilder.Option(0x0103, 1, [1, 2, 3, 4]),
        ]
        builder.sourcePort = 1
        builder.source = 1
        builder.outerOptions = [1, 1, 1, 0]
        #expect(worker(builder.bytes(), .outerIPv4, 32) == usual)
    }

    @Test(arguments: ["random flows", "one client, rising ports", "a subnet, one port"])
    func `flows spread evenly`(over shape: String) {
        let (workers, flows) = (8, 8000)
        var random = SeededGenerator(seed: 11)
        var load = [Int](repeating: 0, count: workers)
        for i in 0..<flows {
            var flow = Flow4(using: &random)
            if shape != "random flows" {
                flow = Flow4(0xC0A8_010A, 0x0808_0808, 40_000, 443)
                if shape == "a subnet, one port" {
                    flow.source = 0x0A00_0000 + UInt32(i)
                } else {
                    flow.sourcePort = 20_000 + UInt16(i)
                }
            }
            load[worker(of: flow.tcp, workers)!] += 1
        }
        let share = flows / workers
        #expect(load.allSatisfy { abs($0 - share) < share / 5 }, "\(load)")
    }

    // ---- Helpers.

    private func worker(
        _ bytes: [UInt8], _ start: Steering.Start, _ workers: Int, _ hash: FlowHash = FlowHash()
    ) -> Int? {
        var bytes = bytes
        return withPacketView(&bytes) {
            Steering.worker(of: $0, from: start, workers: workers, hash: hash)
        }
    }

    private func worker(
        of inner: [UInt8], _ workers: Int = 32, _ hash: FlowHash = FlowHash()
    ) -> Int? {
        worker(PacketBuilder(inner).bytes(), .outerIPv4, workers, hash)
    }

    private func six(
        _ source: [UInt8], _ destination: [UInt8], _ payload: [UInt8],
        _ chain: [PacketBuilder.Extension]
    ) -> [UInt8] {
        PacketBuilder.ipv6(
            source: source, destination: destination, nextHeader: 17, payload, extensions: chain)
    }
}

/// The tuple of an inner IPv4 flow.
struct Flow4 {
    var source, destination: UInt32
    var sourcePort, destinationPort: UInt16

    init(_ source: UInt32, _ destination: UInt32, _ sourcePort: UInt16, _ destinationPort: UInt16) {
        (self.source, self.destination) = (source, destination)
        (self.sourcePort, self.destinationPort) = (sourcePort, destinationPort)
    }

    init(using random: inout SeededGenerator) {
        self.init(
            .random(in: 0...(.max), using: &random), .random(in: 0...(.max), using: &random),
            .random(in: 0...(.max), using: &random), .random(in: 0...(.max), using: &random))
    }

    var turned: Flow4 { Flow4(destination, source, destinationPort, sourcePort) }

    var udp: [UInt8] {
        PacketBuilder.udp4(
            sourcePort, destinationPort, [1], source: source, destination: destination)
    }

    var tcp: [UInt8] {
        PacketBuilder.tcp4(
            sourcePort, destinationPort, [1], source: source, destination: destination)
    }

    var ping: [UInt8] {
        PacketBuilder.ipv4(
            source: source, destination: destination, protocolNumber: 1, [8, 0, 0, 0, 0, 7, 0, 1])
    }
}
