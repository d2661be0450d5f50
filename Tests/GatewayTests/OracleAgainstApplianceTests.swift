import Gateway
import SluiceCore
import SluiceTesting
import Testing
import Verification

/// The oracle and the appliance were written apart and share no code: on packets of all kinds,
/// broken ones too, they must agree to the byte.
@Suite struct OracleAgainstApplianceTests {
    private static let words = [
        "drop me", "weakly typed", "drop m", "weakly type", "strongly typed", "x",
    ]

    private struct Source {
        var random: SeededGenerator

        mutating func number(_ range: ClosedRange<Int>) -> Int {
            Int.random(in: range, using: &random)
        }

        mutating func text() -> [UInt8] {
            (0..<number(0...6)).flatMap { _ in
                Array(words.randomElement(using: &random)!.utf8)
                    + [UInt8](repeating: 0x2E, count: number(0...9))
            }
        }

        mutating func payload() -> [UInt8] {
            guard number(0...30) == 0 else { return text() }
            let filler = [UInt8](repeating: 0x2E, count: 8500 - 28 - number(0...60))
            return Array("weakly typed".utf8) + filler.dropFirst(12)
        }

        mutating func port() -> UInt16 { number(0...2) == 0 ? 4000 : 3000 }

        mutating func chain() -> [(number: UInt8, bytes: [UInt8])] {
            (0..<number(0...3)).map { _ in
                switch number(0...3) {
                case 0: (0, [0, 0, 1, 4, 0, 0, 0, 0])
                case 1: (60, [0, 1] + [UInt8](repeating: 0, count: 14))
                case 2: (43, [0, 0, 0, 0, 0, 0, 0, 0])
                default: (44, [0, 0, 0, number(0...4) == 0 ? 8 : 0, 1, 2, 3, 4])
                }
            }
        }

        mutating func packet() -> [UInt8] {
            let checksum = [PacketBuilder.Checksum.valid, .zero, .wrong].randomElement(
                using: &random)!
            switch number(0...7) {
            case 0...2:
                return PacketBuilder.udp4(
                    port(), port(), payload(), checksum: checksum,
                    options: [UInt8](repeating: 1, count: number(0...3) * 4),
                    flagsAndOffset: number(0...9) == 0 ? 0x2000 : 0x4000)
            case 3...4:
                return PacketBuilder.udp6(
                    port(), port(), payload(), checksum: checksum, extensions: chain())
            case 5: return PacketBuilder.tcp4(port(), port(), payload())
            case 6:
                return PacketBuilder.icmp4(
                    type: [0, 8, 3, 11].randomElement(using: &random)!,
                    sequence: UInt16(number(0...30)))
            default:
                return PacketBuilder.icmp6(
                    type: 128, sequence: UInt16(number(0...30)), payload())
            }
        }

        /// Sometimes with trailing bytes, flipped bits or an end too early.
        mutating func hostilePacket() -> [UInt8] {
            var bytes = packet()
            if number(0...5) == 0 { bytes += text() }
            if number(0...2) == 0 {
                for _ in 0..<number(1...3) {
                    let reach = number(0...1) == 0 ? bytes.count : min(60, bytes.count)
                    bytes[number(0...reach - 1)] ^= UInt8(1 << number(0...7))
                }
            }
            if number(0...9) == 0 { bytes = Array(bytes.prefix(number(1...bytes.count))) }
            return bytes
        }
    }

    @Test(arguments: 0..<8 as Range<UInt64>)
    func theyAgree(seed: UInt64) throws {
        var source = Source(random: SeededGenerator(seed: seed))
        var packets: [[UInt8]] = []
        for _ in 0..<1000 {
            let bytes = source.hostilePacket()
            // Another version nibble is the outer header's lie, not the inner packet's.
            if bytes.count <= 8500, [4, 6].contains(bytes[0] >> 4) { packets.append(bytes) }
        }
        var io = MemoryIO(slotSize: 9216, recordingSize: 1 << 23)
        for packet in packets { io.enqueue(PacketBuilder(packet).bytes()) }
        let counters = try CounterBlock(rules: BlogPolicy.ruleNames.count, node: -1)
        var worker = try Worker(
            index: 0, io: io, processor: BlogPolicy(worker: 0), settings: PathSettings(),
            flowCapacity: 1024, seed: 1, counters: counters)
        while worker.runBurst() > 0 {}
        #expect(worker.io.unrecorded == 0)

        let expected = packets.compactMap { packet -> [UInt8]? in
            guard case .forward(let inner) = BlogOracle.expect(packet) else { return nil }
            var builder = PacketBuilder(packet)
            builder.timeToLive -= 1
            return repaired(turnedAround(builder.bytes().replacingInner(inner)))
        }
        let sent = worker.io.sent
        #expect(sent.count == expected.count)
        #expect(expected.count > packets.count / 4 && expected.count < packets.count)
        for (got, wanted) in zip(sent, expected) { try #require(got == wanted) }
    }

    /// The whole way: emulator, appliance, emulator.
    @Test func theEmulatorAgrees() throws {
        var source = Source(random: SeededGenerator(seed: 99))
        var bench = Bench(.blog)
        var io = MemoryIO(slotSize: 9216, recordingSize: 1 << 23)
        for _ in 0..<1000 {
            if let outer = bench.send(source.hostilePacket()) { io.enqueue(outer) }
        }
        let counters = try CounterBlock(rules: BlogPolicy.ruleNames.count, node: -1)
        var worker = try Worker(
            index: 0, io: io, processor: BlogPolicy(worker: 0), settings: PathSettings(),
            flowCapacity: 1024, seed: 1, counters: counters)
        while worker.runBurst() > 0 {}
        let sent = worker.io.sent
        for outer in sent { #expect(bench.answer(outer) != nil) }
        #expect(bench.violations == [:])
        let counts = bench.emulator.counters
        #expect(counts.encapsulated == UInt64(sent.count) + bench.emulator.expectedDrops)
        #expect(bench.emulator.expectedDrops > 100)
    }
}

extension Array where Element == UInt8 {
    /// An outer packet around another inner one; lengths and checksums are for others to repair.
    fileprivate func replacingInner(_ inner: [UInt8]) -> [UInt8] {
        Array(self[0..<68]) + inner
    }
}
