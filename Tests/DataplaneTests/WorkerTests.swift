import Dataplane
import Glibc
import PacketIO
import SluiceTesting
import Testing
import Wire

@Suite("The worker")
struct WorkerTests {
    /// A packet that passes; `number` makes it a flow of its own.
    static func packet(_ number: Int = 0) -> [UInt8] {
        PacketBuilder(PacketBuilder.udp4(UInt16(number), 443, [1, 2, 3])).bytes()
    }

    static func packets(_ count: Int) -> [[UInt8]] { (0..<count).map { packet($0) } }

    // ---- Bursts.

    @Test func `a burst takes what waits, up to its limit`() throws {
        var bench = try Bench(io: MemoryIO(burst: 4))
        bench.enqueue(Self.packets(10))
        let bursts = (0..<4).map { _ in bench.worker.runBurst() }
        #expect(bursts == [4, 4, 2, 0])
        #expect(bench.worker.io.sent.count == 10)
        bench.runDry()
    }

    @Test func `answers keep the order of their packets`() throws {
        var bench = try Bench(io: MemoryIO(burst: 7))
        bench.enqueue(Self.packets(100))
        bench.runDry()
        let ports = bench.worker.io.sent.map { Int($0[88]) << 8 | Int($0[89]) }
        #expect(ports == Array(0..<100))
    }

    @Test func `the histogram counts bursts by size`() throws {
        let sizes = [1, 2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 64, 65, 128]
        var bench = try Bench(io: MemoryIO(burst: 128))
        for size in sizes {
            bench.enqueue(Self.packets(size))
            bench.worker.io.burstLimit = size
            #expect(bench.worker.runBurst() == size)
        }
        _ = bench.worker.runBurst()  // an empty one is no burst
        #expect(CounterBlock.burstBounds == [1, 2, 4, 8, 16, 32, 64])
        #expect(bench.counters.readBursts() == [1, 1, 2, 2, 2, 2, 2, 2])
        #expect(bench.counters.read(.bursts) == 14)
        #expect(bench.counters.read(.packetsReceived) == UInt64(sizes.reduce(0, +)))
    }

    @Test func `bytes are counted as they came and as they went`() throws {
        var bench = try Bench()
        let sizes = ["hello", "weakly typed", "drop me"].map { BlogPolicyTests.packet($0).bytes() }
        bench.enqueue(sizes)
        bench.runDry()
        let received = sizes.map(\.count)
        #expect(bench.counters.read(.bytesReceived) == UInt64(received.reduce(0, +)))
        #expect(bench.counters.read(.bytesForwarded) == UInt64(received[0] + received[1] + 2))
    }

    // ---- Faults.

    @Test func `a receive error stops the heartbeat, and recovery starts it again`() throws {
        var bench = try Bench()
        _ = bench.worker.runBurst()
        let beat = bench.counters.read(.heartbeat)
        #expect(beat == bench.worker.io.clock)
        for errors in 1...3 as ClosedRange<UInt64> {
            bench.worker.io.advance(nanoseconds: 1_000_000_000)
            bench.worker.io.inject(.receiveError(ENETDOWN))
            #expect(bench.worker.runBurst() == -Int(ENETDOWN))
            #expect(bench.counters.read(.heartbeat) == beat)
            #expect(bench.counters.read(.receiveErrors) == errors)
        }
        _ = bench.worker.runBurst()
        #expect(bench.counters.read(.heartbeat) == bench.worker.io.clock)
    }

    @Test func `the heartbeat goes on with packets and without`() throws {
        var bench = try Bench()
        for hasPacket in [true, false, true] {
            bench.worker.io.advance(nanoseconds: 250_000_000)
            if hasPacket { bench.worker.io.enqueue(Self.packet()) }
            _ = bench.worker.runBurst()
            #expect(bench.counters.read(.heartbeat) == bench.worker.io.clock)
        }
    }

    @Test func `kernel overflow is counted outside the identity`() throws {
        var bench = try Bench()
        bench.worker.io.inject(.overflow(7))
        bench.enqueue(Self.packets(3))
        bench.runDry()
        bench.worker.io.advance(nanoseconds: 250_000_000)
        bench.worker.io.inject(.overflow(5))
        bench.runDry()
        #expect(bench.counters.read(.kernelDrops) == 12)
        #expect(bench.counters.read(.packetsReceived) == 3)
    }

    @Test func `what the kernel refuses to send is dropped, reason send`() throws {
        var bench = try Bench(io: MemoryIO(burst: 5))
        bench.enqueue(Self.packets(10))
        bench.worker.io.inject(.partialSend(2))
        bench.runDry()
        #expect(bench.counters.read(.packetsForwarded) == 7)
        #expect(bench.counters.read(.send) == 3)
        #expect(bench.worker.io.sent.count == 7)
        #expect(bench.counters.read(.bytesForwarded) == 7 * UInt64(Self.packet().count))
    }

    @Test func `send retries are counted and lose nothing`() throws {
        var bench = try Bench()
        bench.enqueue(Self.packets(10))
        bench.worker.io.inject(.sendRetries(3))
        bench.runDry()
        #expect(bench.counters.read(.sendRetries) == 3)
        #expect(bench.counters.read(.packetsForwarded) == 10)
    }

    // ---- The loop.

    @Test func `an idle worker sleeps, unless it is told to spin`() throws {
        for spins in [false, true] {
            var bench = try Bench()
            bench.enqueue(Self.packets(3))
            var rounds = 0
            bench.worker.run(spins: spins) {
                rounds += 1
                return rounds > 5
            }
            #expect(bench.counters.read(.packetsForwarded) == 3)
            #expect(bench.worker.io.waits == (spins ? 0 : 4))
        }
    }

    @Test func `a failing socket does not keep a core busy, even when spinning`() throws {
        var bench = try Bench()
        for _ in 0..<3 { bench.worker.io.inject(.receiveError(EBADF)) }
        var rounds = 0
        bench.worker.run(spins: true) {
            rounds += 1
            return rounds > 5
        }
        #expect(bench.worker.io.waits == 3)
    }

    @Test func `a worker that is told to stop takes no further packet`() throws {
        var bench = try Bench()
        bench.enqueue(Self.packets(3))
        bench.worker.run(spins: false) { true }
        #expect(bench.counters.read(.packetsReceived) == 0)
    }

    // ---- Flows.

    @Test func `flows are made once for both directions`() throws {
        var bench = try Bench()
        let there = PacketBuilder.tcp4(1000, 443, [])
        let back = PacketBuilder.tcp4(
            443, 1000, [], source: 0xC0A8_020A, destination: 0xC0A8_010A)
        for inner in [there, back, there] { bench.worker.io.enqueue(PacketBuilder(inner).bytes()) }
        bench.runDry()
        #expect(bench.counters.read(.flowsCreated) == 1)
        #expect(bench.worker.flows.live == 1)
    }

    @Test func `the endpoint is part of the flow`() throws {
        var bench = try Bench()
        for endpoint in [1, 2, 1] as [UInt64] {
            var packet = PacketBuilder(PacketBuilder.tcp4(1000, 443, []))
            packet.options[0] = .endpoint(endpoint)
            bench.worker.io.enqueue(packet.bytes())
        }
        bench.runDry()
        #expect(bench.counters.read(.flowsCreated) == 2)
    }

    @Test func `a change of the cookie is counted`() throws {
        var bench = try Bench()
        for cookie in [1, 1, 2, 2, 1] as [UInt32] {
            var packet = PacketBuilder(PacketBuilder.tcp4(1000, 443, []))
            packet.options[2] = .cookie(cookie)
            bench.worker.io.enqueue(packet.bytes())
        }
        bench.runDry()
        #expect(bench.counters.read(.flowCookieChanges) == 2)
        #expect(bench.counters.read(.flowsCreated) == 1)
    }

    @Test func `fragments have an entry of their own, the first included`() throws {
        var bench = try Bench()
        bench.enqueue(
            [0, 0x2000, 0x2001, 0x0002].map {
                PacketBuilder(
                    PacketBuilder.udp4(1, 2, [UInt8](repeating: 1, count: 8), flagsAndOffset: $0)
                )
                .bytes()
            })
        bench.runDry()
        #expect(bench.counters.read(.flowsCreated) == 2)
    }

    /// Seconds by protocol; unanswered, after FIN of one side, and after RST.
    static let idleTimes: [(inner: [UInt8], seconds: UInt64)] = [
        (PacketBuilder.udp4(1, 2, []), 120), (PacketBuilder.icmp4(type: 8, sequence: 1), 120),
        (PacketBuilder.tcp4(1, 2, [], flags: 0x10), 350),
        (PacketBuilder.tcp4(1, 2, [], flags: 0x02), 30),
        (PacketBuilder.tcp4(1, 2, [], flags: 0x11), 120),
        (PacketBuilder.tcp4(1, 2, [], flags: 0x04), 10),
    ]

    @Test(arguments: idleTimes)
    func `an idle flow is over after its time, and not before`(
        inner: [UInt8], seconds: UInt64
    ) throws {
        for (wait, isOver) in [(seconds, false), (seconds + 1, true)] {
            var bench = try Bench(flowCapacity: 8)
            bench.worker.io.enqueue(PacketBuilder(inner).bytes())
            bench.runDry()
            #expect(bench.worker.flows.live == 1)
            bench.worker.io.advance(nanoseconds: wait * 1_000_000_000)
            bench.runDry()
            #expect(bench.counters.read(.flowsExpired) == (isOver ? 1 : 0))
            #expect(bench.counters.read(.flowsLive) == (isOver ? 0 : 1))
        }
    }

    /// Steps of a connection: who sends which flags, and how long the flow may be idle after it.
    @Test func `a connection lives by how far it is`() throws {
        let steps: [(isBack: Bool, flags: UInt8, seconds: UInt64)] = [
            (false, 0x02, 30), (false, 0x02, 30), (true, 0x12, 350), (false, 0x10, 350),
            (true, 0x18, 350), (false, 0x11, 120), (true, 0x18, 120), (true, 0x11, 10),
            (false, 0x10, 10), (false, 0x02, 30), (true, 0x14, 10),
        ]
        for end in steps.indices {
            var bench = try Bench(flowCapacity: 8)
            for step in steps[...end] {
                let (a, b) = (0xC0A8_010A as UInt32, 0xC0A8_020A as UInt32)
                let inner = PacketBuilder.tcp4(
                    step.isBack ? 80 : 5, step.isBack ? 5 : 80, [], flags: step.flags,
                    source: step.isBack ? b : a, destination: step.isBack ? a : b)
                bench.worker.io.enqueue(PacketBuilder(inner).bytes())
            }
            bench.runDry()
            // The second SYN came after the end of the first connection.
            let begun: UInt64 = end >= 9 ? 1 : 0
            #expect(bench.counters.read(.flowsCreated) == 1 + begun)
            #expect(bench.counters.read(.flowsExpired) == begun)
            for (wait, isOver) in [(steps[end].seconds, false), (1, true)] as [(UInt64, Bool)] {
                bench.worker.io.advance(nanoseconds: wait * 1_000_000_000)
                bench.runDry()
                #expect(bench.counters.read(.flowsLive) == (isOver ? 0 : 1), "step \(end)")
            }
        }
    }

    @Test func `other idle times reach flows that are there`() throws {
        var bench = try Bench(flowCapacity: 8)
        bench.worker.io.enqueue(PacketBuilder(PacketBuilder.tcp4(1, 2, [], flags: 0x10)).bytes())
        bench.runDry()
        bench.worker.settings.tcpIdleNanoseconds = 5_000_000_000
        bench.worker.io.advance(nanoseconds: 6_000_000_000)
        bench.runDry()
        #expect(bench.counters.read(.flowsLive) == 0)
    }

    /// The stated time, with no packet and with many.
    @Test(arguments: [false, true])
    func `a flow that is over leaves within thirty seconds`(isBusy: Bool) throws {
        var bench = try Bench(flowCapacity: 1 << 12, io: MemoryIO(recordingSize: 0))
        bench.enqueue(Self.packets(1000))
        bench.runDry()
        #expect(bench.counters.read(.flowsCreated) == 1000)
        bench.worker.io.advance(nanoseconds: 120_000_000_000)
        let load = PacketBuilder(PacketBuilder.udp4(9, 9, bytes("x"))).bytes()
        for tick in 0..<6040 {
            bench.worker.io.advance(nanoseconds: 5_000_000)
            if isBusy, tick % 8 == 0 { bench.worker.io.enqueue(load) }
            _ = bench.worker.runBurst()
        }
        #expect(bench.counters.read(.flowsLive) == (isBusy ? 1 : 0))
        #expect(bench.counters.read(.flowsExpired) == 1000)
    }

    @Test func `a full table that keeps its flows drops new ones, reason flow_table_full`() throws {
        var bench = try Bench(
            BlogPolicy.self, settings { $0.dropsWhenFull = true }, flowCapacity: 8,
            io: MemoryIO(recordingSize: 0))
        bench.enqueue(Self.packets(100) + Self.packets(100))
        bench.runDry()
        #expect(bench.counters.read(.packetsForwarded) == 16)
        #expect(bench.counters.read(.flowTableFull) == 184)
        #expect(bench.counters.read(.flowsCreated) == 8)
        #expect(bench.counters.read(.flowsEvicted) == 0)
        #expect(bench.worker.flows.live == 8)
    }

    @Test func `packets that cannot be parsed make no flow`() throws {
        var bench = try Bench(BlogPolicy.self, settings { $0.forwardsUndecodable = true })
        bench.enqueue([PacketBuilder([0x45]).bytes(), [1, 2, 3]])
        bench.runDry()
        #expect(bench.counters.read(.flowsCreated) == 0)
    }

    @Test func `a full table evicts, counts it, and every packet still passes`() throws {
        var bench = try Bench(flowCapacity: 8, io: MemoryIO(recordingSize: 0))
        bench.enqueue(Self.packets(1000))
        bench.runDry()
        #expect(bench.counters.read(.packetsForwarded) == 1000)
        #expect(bench.counters.read(.flowsCreated) == 1000)
        #expect(bench.counters.read(.flowsEvicted) == 992)
        #expect(bench.worker.flows.live == 8)
    }
}

@Suite("Endpoint counters")
struct EndpointCounterTests {
    private func packet(_ endpoint: UInt64, _ text: String = "hello") -> [UInt8] {
        var packet = BlogPolicyTests.packet(text)
        packet.options[0] = .endpoint(endpoint)
        return packet.bytes()
    }

    @Test func `packets are counted under their endpoint, by verdict`() throws {
        var bench = try Bench()
        bench.enqueue([packet(7), packet(7, "drop me"), packet(0), packet(7), packet(.max)])
        bench.runDry()
        let rows = rows(bench.counters).sorted { $0[0]! < $1[0]! }
        #expect(rows == [[0, 1, 0], [7, 2, 1], [.max, 1, 0]])
    }

    /// Endpoint, forwarded, dropped.
    private func rows(_ counters: CounterBlock) -> [[UInt64?]] {
        counters.readEndpoints().map { [$0.endpoint, $0.forwarded, $0.dropped] }
    }

    @Test func `only packets that can be read whole make an entry`() throws {
        var bench = try Bench()
        var malformed = PacketBuilder([0x45])
        malformed.options[0] = .endpoint(9)
        var anonymous = BlogPolicyTests.packet("hello")
        anonymous.options.remove(at: 0)
        bench.enqueue([malformed.bytes(), anonymous.bytes(), [1, 2, 3]])
        bench.runDry()
        #expect(rows(bench.counters) == [])
    }

    @Test func `endpoints beyond the capacity share one entry, and none is lost`() throws {
        var bench = try Bench(io: MemoryIO(recordingSize: 0))
        let endpoints = 200
        for round in 0..<3 {
            bench.enqueue(
                (0..<endpoints).map { packet(UInt64($0 * 7919), round == 2 ? "drop me" : "hi") })
        }
        bench.runDry()
        let counts = bench.counters.readEndpoints()
        #expect(counts.count <= CounterBlock.endpointCapacity)
        #expect(counts.filter { $0.endpoint == nil }.count == 1)
        for count in counts where count.endpoint != nil {
            #expect(count.forwarded == 2 && count.dropped == 1, "\(count)")
        }
        #expect(counts.map(\.forwarded).reduce(0, +) == UInt64(2 * endpoints))
        #expect(counts.map(\.dropped).reduce(0, +) == UInt64(endpoints))
        #expect(counts.count > CounterBlock.endpointCapacity / 2, "most entries are put to use")
    }

    @Test func `ids that somebody made up give way to endpoints with traffic`() throws {
        let counters = try CounterBlock(rules: 0, node: -1)
        var random = SplitMix64(seed: 1)
        func count(_ endpoint: UInt64, isForwarded: Bool = true) {
            counters.addEndpoint(counters.endpointEntry(endpoint), isForwarded: isForwarded)
        }
        func others() -> UInt64 {
            counters.readEndpoints().first { $0.endpoint == nil }?.forwarded ?? 0
        }
        for _ in 0..<10_000 { count(random.next()) }
        var seen = others()
        for round in 1...3000 {
            count(7)
            count(8, isForwarded: false)
            if round % 3 == 0 { count(random.next()) }
            #expect(others() >= seen, "totals never fall")
            seen = others()
        }
        let counts = counters.readEndpoints()
        let real = counts.filter { $0.endpoint == 7 || $0.endpoint == 8 }
        #expect(real.count == 2 && real.allSatisfy { $0.forwarded + $0.dropped > 2800 })
        #expect(counts.reduce(0) { $0 + $1.forwarded + $1.dropped } == 17_000)
    }
}
