import Dataplane
import SluiceTesting
import Support
import Testing
import Wire

/// The processor that the README shows, word for word: it compiles and does what it says.
struct NoTelnet: PacketProcessor {
    static let ruleNames = ["telnet"]
    init(configuration: NoConfiguration, worker: Int) {}

    @inline(__always)
    mutating func process(
        _ packet: inout Packet, flow: inout NoFlowState, context: inout Context
    ) -> Verdict {
        guard packet.protocolNumber == IPProtocol.tcp, packet.uses(port: 23) else {
            return .forward
        }
        context.hit(rule: 0)
        return .drop
    }
}

@Suite("README")
struct ReadmeTests {
    @Test("the example processor drops telnet and nothing else")
    func example() throws {
        let counters = try CounterBlock(rules: 1, node: -1)
        var worker = try Worker(
            index: 0, io: MemoryIO(), processor: NoTelnet(worker: 0), settings: PathSettings(),
            flowCapacity: 64, seed: 1, counters: counters)
        worker.io.enqueue(PacketBuilder(PacketBuilder.tcp4(50_000, 23, [1])).bytes())
        worker.io.enqueue(PacketBuilder(PacketBuilder.tcp4(50_000, 22, [1])).bytes())
        let received = worker.runBurst()
        let sent = worker.io.sent.count
        #expect(received == 2)
        #expect(sent == 1)
        #expect(counters.readRule(0) == 1)
        #expect(counters.read(.processor) == 1)
    }
}
