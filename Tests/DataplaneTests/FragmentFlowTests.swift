import SluiceCore
import SluiceTesting
import Testing

@Suite("Flows of IPv6 fragments")
struct FragmentFlowTests {
    /// RFC 8200 §4.5: later fragments repeat the fragment header's next-header field, while the
    /// first one may go on with another extension header.
    @Test("the first fragment and the later ones share one entry")
    func oneEntry() throws {
        let options = (number: UInt8(60), bytes: [0, 0, 1, 4, 0, 0, 0, 0] as [UInt8])
        let first = PacketBuilder.udp6(
            3001, 3002, [UInt8](repeating: 1, count: 24),
            extensions: [(44, fragmentHeader(offset: 0, more: true)), options])
        let later = PacketBuilder.ipv6(
            nextHeader: 60, [UInt8](repeating: 2, count: 16),
            extensions: [(44, fragmentHeader(offset: 40, more: false))])
        let counters = try CounterBlock(rules: 0, node: -1)
        var worker = try Worker(
            index: 0, io: MemoryIO(), processor: PassThrough(worker: 0), settings: PathSettings(),
            flowCapacity: 64, seed: 1, counters: counters)
        for inner in [first, later] { worker.io.enqueue(PacketBuilder(inner).bytes()) }
        let received = worker.runBurst()
        #expect(received == 2)
        #expect(counters.read(.packetsForwarded) == 2)
        #expect(counters.read(.flowsCreated) == 1)
    }

    /// Offset in bytes, a multiple of 8.
    private func fragmentHeader(offset: UInt16, more: Bool) -> [UInt8] {
        [0, 0] + bigEndian(offset | (more ? 1 : 0)) + bigEndian(0x0102_0304 as UInt32)
    }
}
