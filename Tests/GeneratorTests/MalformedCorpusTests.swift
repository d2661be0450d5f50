import Dataplane
import Generator
import SluiceTesting
import Testing
import Wire

@Suite struct MalformedCorpusTests {
    static let header = GatewayHeader(
        node: 0x0A4D_0001, target: 0x0A4D_0002, sourcePort: 25_322,
        endpoint: 0x2356_de92_d389_839c, cookie: 0x98ef_1b00)

    @Test func `names are unique and every layer is there`() {
        let names = MalformedCorpus.all.map(\.name)
        #expect(Set(names).count == names.count)
        #expect(names.count >= 120)
        let layers = Set(names.map { $0.prefix { $0 != "/" } })
        #expect(
            layers == [
                "outer", "geneve", "options", "aws", "inner IPv4", "inner IPv6", "inner UDP",
                "inner TCP", "inner ICMP",
            ])
    }

    /// The appliance's own packet loop is the right appliance: every verdict is as expected, and
    /// what passes is only turned around.
    @Test(arguments: OuterChecksum.allCases)
    func `the appliance does with each what is expected`(checksum: OuterChecksum) throws {
        for packet in MalformedCorpus.all {
            let bytes = packet.bytes(Self.header, checksum: checksum)
            #expect(!bytes.isEmpty && bytes.count <= 512, "\(packet.name)")
            let answer = try Self.answer(to: bytes)
            switch packet.expectation {
            case .drop: #expect(answer == nil, "\(packet.name)")
            case .pass:
                let kept = answer.map { Array($0[0..<8] + $0[20...]) }
                #expect(kept == Array(bytes[0..<8] + bytes[20...]), "\(packet.name)")
                #expect(answer.map { $0[8] } == bytes[8] - 1, "\(packet.name)")
                #expect(
                    answer.map { Array($0[12..<20]) } == Array(bytes[16..<20] + bytes[12..<16]),
                    "\(packet.name)")
            }
        }
    }

    /// What a fresh appliance sends back for one packet.
    static func answer(to packet: [UInt8]) throws -> [UInt8]? {
        let counters = try CounterBlock(rules: BlogPolicy.ruleNames.count, node: -1)
        var worker = try Worker(
            index: 0, io: MemoryIO(), processor: BlogPolicy(worker: 0), settings: PathSettings(),
            flowCapacity: 64, seed: 1, counters: counters)
        worker.io.enqueue(packet)
        #expect(worker.runBurst() == 1)
        let frame = worker.io.frames[0]
        guard frame.isAnswer else { return nil }
        return Array(UnsafeRawBufferPointer(start: frame.base, count: Int(frame.length)))
    }

    @Test func `a fault in the inside leaves the outer checksums right`() {
        for packet in MalformedCorpus.all where packet.name.hasPrefix("inner") {
            let bytes = packet.bytes(Self.header)
            #expect(internetChecksum(Array(bytes[0..<20])) == 0, "\(packet.name)")
            let udp = Array(bytes[20...])
            #expect(
                transportChecksum(Array(bytes[12..<16]), Array(bytes[16..<20]), 17, udp) == 0,
                "\(packet.name)")
            let zero = packet.bytes(Self.header, checksum: .zero)
            #expect(zero[26] == 0 && zero[27] == 0)
        }
    }

    @Test func `flows differ by the header`() {
        var other = Self.header
        other.sourcePort = 30_000
        let packet = MalformedCorpus.all.first { $0.expectation == .pass }!
        #expect(packet.bytes(Self.header) != packet.bytes(other))
        #expect(packet.bytes(other) == packet.bytes(other))
    }
}
