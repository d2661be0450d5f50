import Gateway
import SluiceTesting
import Testing
import Verification
import Wire

/// Deliberately broken appliances: exactly their fault is named, nothing else; a right one gives
/// no complaint.
@Suite struct ReturnCheckTests {
    private let node = 12..<16
    private let source = 16..<20

    /// Ten packets of each shape, each answered by `answer`; what was complained about.
    private func complaints(
        _ expectation: Behaviour = .reflect, shapes: [[UInt8]]? = nil,
        _ answer: ([UInt8]) -> [[UInt8]]
    ) -> [Violation: UInt64] {
        var bench = Bench(expectation)
        for number in 1..<11 as Range<UInt16> {
            for packet in shapes ?? Shapes.all(number: number * 5 + 1) {
                for reply in answer(bench.send(packet)!) { bench.answer(reply) }
            }
        }
        return bench.violations
    }

    private var shapeCount: UInt64 { UInt64(Shapes.all().count) * 10 }

    @Test(arguments: Behaviour.allCases)
    func aRightApplianceGivesNoComplaint(expectation: Behaviour) {
        #expect(complaints(expectation) { [turnedAround($0)] } == [:])
        #expect(complaints(expectation) { _ in [] } == [:], "loss is no violation")
    }

    /// What the backends may change in the outer header.
    @Test func theBackendsFreedoms() {
        #expect(
            complaints { outer in
                var reply = turnedAround(outer)
                reply[1] = 0x10
                reply[4] = 0x12
                reply[8] = 64
                return [repaired(reply)]
            } == [:])
        #expect(
            complaints { outer in
                var reply = turnedAround(outer)
                reply.replaceSubrange(26..<28, with: [0, 0])
                return [reply]
            } == [:])
    }

    @Test func addresses() {
        let otherNode = complaints { [repaired(turnedAround($0).flipping(19, 2))] }
        #expect(otherNode == [.addresses: shapeCount])
        let otherSource = complaints { [repaired(turnedAround($0).flipping(15, 6))] }
        #expect(otherSource == [.addresses: shapeCount])
        #expect(complaints { [$0] } == [.addresses: shapeCount], "not turned around at all")
    }

    @Test func ports() {
        let swapped = complaints { outer in
            let reply = turnedAround(outer)
            return [Array(reply[0..<20]) + reply[22..<24] + reply[20..<22] + reply[24...]]
        }
        #expect(swapped == [.ports: shapeCount])
        #expect(complaints { [repaired(turnedAround($0).flipping(21))] } == [.ports: shapeCount])
        #expect(complaints { [repaired(turnedAround($0).flipping(23))] } == [.ports: shapeCount])
    }

    /// Every byte of the Geneve header and its options; also with the outer checksum left wrong.
    @Test func geneve() {
        for offset in 28..<68 where offset != 28 {
            let reply = complaints { [repaired(turnedAround($0).flipping(offset, 0x04))] }
            #expect(reply == [.geneve: shapeCount], "byte \(offset)")
            #expect(complaints { [turnedAround($0).flipping(offset, 0x04)] } == reply)
        }
        let version = complaints { [repaired(turnedAround($0).flipping(28, 0x40))] }
        #expect(version == [.geneve: shapeCount])
        let longer = complaints { outer in
            let reply = turnedAround(outer)
            return [
                repaired(Array(reply[0..<28]) + [9] + reply[29..<68] + [1, 1, 1, 0] + reply[68...])
            ]
        }
        #expect(longer == [.geneve: shapeCount])
    }

    /// Another flow's Geneve header around this flow's packet.
    @Test func headersExchanged() {
        var bench = Bench()
        let one = bench.send(PacketBuilder.udp4(1, 2, [1]))!
        let two = bench.send(PacketBuilder.udp4(3, 4, [1]))!
        let crossed = turnedAround(Array(one[0..<68]) + two[68...])
        #expect(bench.answer(repaired(crossed)) == nil)
        #expect(bench.violations == [.geneve: 1])
    }

    @Test func outerChecksum() {
        #expect(
            complaints { [turnedAround($0).flipping(26, 0x55)] } == [.outerChecksum: shapeCount])
        #expect(
            complaints { [turnedAround($0).flipping(10, 0x55)] } == [.outerChecksum: shapeCount])
    }

    @Test(arguments: [Behaviour.reflect, .any, .blog])
    func innerChecksum(expectation: Behaviour) {
        let fields: [([UInt8], Int)] = [
            (PacketBuilder.udp4(1, 2, Shapes.text), 26),
            (PacketBuilder.udp6(1, 2, Shapes.text), 46),
            (PacketBuilder.tcp4(1, 2, Shapes.text), 36),
            (PacketBuilder.icmp4(type: 8, sequence: 1), 22),
            (PacketBuilder.icmp6(type: 128, sequence: 1), 42),
            (PacketBuilder.udp4(5, 2, Shapes.text), 10),
        ]
        for (packet, field) in fields {
            let found = complaints(expectation, shapes: [packet]) {
                [repaired(turnedAround($0).flipping(68 + field, 0x55))]
            }
            #expect(found == [.innerChecksum: 10])
        }
    }

    /// A wrong checksum that was sent comes back as wrong, and that is right.
    @Test(arguments: Behaviour.allCases)
    func wrongChecksumsPass(expectation: Behaviour) {
        let shapes = [
            PacketBuilder.udp4(1, 2, Shapes.text, checksum: .wrong),
            PacketBuilder.udp6(1, 2, Shapes.text, checksum: .wrong),
            PacketBuilder.udp4(7, 2, Shapes.text).flipping(10),
        ]
        #expect(complaints(expectation, shapes: shapes) { [turnedAround($0)] } == [:])
    }

    @Test func repairedChecksumsAreNotReflected() {
        let wrong = PacketBuilder.udp4(1, 2, Shapes.text, checksum: .wrong)
        let right = PacketBuilder.udp4(1, 2, Shapes.text)
        let found = complaints(shapes: [wrong]) {
            [repaired(Array(turnedAround($0)[0..<68]) + right)]
        }
        #expect(found == [.innerChecksum: 10])
    }

    @Test func payload() {
        let shapes = Shapes.all().filter { $0.count > 40 }
        let count = UInt64(shapes.count) * 10
        // With the outer checksum right and with it left wrong.
        #expect(
            complaints(shapes: shapes) { outer in
                [repaired(turnedAround(outer).flipping(outer.count - 1))]
            } == [.payload: count])
        #expect(
            complaints(shapes: shapes) { [turnedAround($0).flipping($0.count - 1)] }
                == [.payload: count])
        #expect(
            complaints { [repaired(turnedAround($0) + [0])] } == [.payload: shapeCount],
            "a trailing byte more")
        #expect(
            complaints { [repaired(Array(turnedAround($0).dropLast(20)))] }
                == [.payload: shapeCount], "cut off")
    }

    /// Another inner tuple, with everything else right: also against `any`.
    @Test(arguments: [Behaviour.reflect, .any])
    func innerAddressesAndPorts(expectation: Behaviour) {
        let packet = PacketBuilder.udp4(40_000, 53, Shapes.text)
        for other in [
            PacketBuilder.udp4(40_001, 53, Shapes.text),
            PacketBuilder.udp4(40_000, 53, Shapes.text, destination: 0xC0A8_020B),
            PacketBuilder.tcp4(40_000, 53, Shapes.text),
        ] {
            let found = complaints(expectation, shapes: [packet]) {
                [repaired(Array(turnedAround($0)[0..<68]) + other)]
            }
            #expect(found == [.payload: 10])
        }
    }

    @Test func anyLetsPayloadsChange() {
        var number: UInt8 = 0
        let packet = PacketBuilder.udp4(40_000, 53, Shapes.text)
        let found = complaints(.any, shapes: [packet]) { outer in
            number += 1
            let other = PacketBuilder.udp4(40_000, 53, Shapes.text + [number])
            return [repaired(Array(turnedAround(outer)[0..<68]) + other)]
        }
        #expect(found == [:])
        let left = complaints(.any, shapes: [packet]) { outer in
            number += 1
            let other = PacketBuilder.udp4(40_000, 53, Shapes.text + [number], checksum: .wrong)
            return [repaired(Array(turnedAround(outer)[0..<68]) + other)]
        }
        #expect(left == [.innerChecksum: 10])
    }

    @Test func unexpected() {
        var bench = Bench()
        let sent = bench.send(PacketBuilder.udp4(1, 2, [1]))!
        bench.answer(turnedAround(PacketBuilder(PacketBuilder.udp4(8, 9, [1])).bytes()))
        bench.answer(Array(turnedAround(sent)[0..<30]))
        bench.answer([])
        #expect(bench.violations == [.unexpected: 3])
    }

    @Test func missingDrop() {
        let drops = [
            PacketBuilder.udp4(9, 3000, Array("drop me".utf8)),
            PacketBuilder.udp6(9, 3000, Array("drop me".utf8)),
            PacketBuilder.icmp4(type: 8, sequence: 5),
        ]
        #expect(complaints(.blog, shapes: drops) { [turnedAround($0)] } == [.missingDrop: 30])
        #expect(complaints(.blog, shapes: drops) { _ in [] } == [:])
        #expect(complaints(.reflect, shapes: drops) { [turnedAround($0)] } == [:])
    }

    @Test func rewrites() {
        let weak = PacketBuilder.udp4(9, 3000, Array("weakly typed".utf8))
        let strong = PacketBuilder.udp4(9, 3000, Array("strongly typed".utf8))
        func rewritten(_ outer: [UInt8], _ inner: [UInt8]) -> [UInt8] {
            repaired(Array(turnedAround(outer)[0..<68]) + inner)
        }
        #expect(complaints(.blog, shapes: [weak]) { [rewritten($0, strong)] } == [:])
        #expect(complaints(.blog, shapes: [weak]) { [turnedAround($0)] } == [.payload: 10])
        #expect(
            complaints(.blog, shapes: [weak]) { [rewritten($0, strong.flipping(26, 1))] }
                == [.innerChecksum: 10], "forgot the checksum")
    }

    @Test func duplicate() {
        #expect(
            complaints { [turnedAround($0), turnedAround($0)] } == [.duplicate: shapeCount])
        #expect(
            complaints { outer in
                var other = turnedAround(outer)
                other.replaceSubrange(26..<28, with: [0, 0])
                return [turnedAround(outer), other]
            } == [.duplicate: shapeCount], "also when the outer header differs")
    }

    /// The same bytes sent several times are owed as often.
    @Test func identicalPackets() {
        var bench = Bench()
        let packet = PacketBuilder.udp6(1, 2, Shapes.text)
        let sent = (0..<5).map { _ in bench.send(packet)! }
        for outer in sent { bench.answer(turnedAround(outer)) }
        #expect(bench.violations == [:])
        bench.answer(turnedAround(sent[0]))
        #expect(bench.violations == [.duplicate: 1])
    }

    @Test func reordered() {
        var bench = Bench()
        for pair in 0..<10 as Range<UInt16> {
            let first = bench.send(PacketBuilder.tcp4(1, 2, bigEndian(pair) + [1]))!
            let second = bench.send(PacketBuilder.tcp4(1, 2, bigEndian(pair) + [2]))!
            bench.answer(turnedAround(second))
            bench.answer(turnedAround(first))
        }
        #expect(bench.violations == [.reordered: 10])
    }

    /// Flows and directions owe each other no order, also when they stick together.
    @Test(arguments: Stickiness.allCases)
    func orderIsPerFlowAndDirection(stickiness: Stickiness) {
        var bench = Bench(.reflect) { $0.stickiness = stickiness }
        let packets = [
            bench.send(PacketBuilder.udp4(1, 2, [1]))!, bench.send(PacketBuilder.udp4(3, 2, [1]))!,
            bench.send(
                PacketBuilder.udp4(2, 1, [1], source: 0xC0A8_020A, destination: 0xC0A8_010A),
                from: .b)!,
        ]
        for outer in packets.reversed() { bench.answer(turnedAround(outer)) }
        #expect(bench.violations == [:])
    }

    @Test func late() {
        var bench = Bench()
        let sent = bench.send(PacketBuilder.udp4(1, 2, [1]))!
        bench.advance(seconds: 2.9)
        let soon = bench.send(PacketBuilder.udp4(1, 2, [2]))!
        bench.answer(turnedAround(soon))
        bench.advance(seconds: 0.2)
        bench.answer(turnedAround(sent))
        #expect(bench.violations == [.late: 1])
    }

    /// Bits flipped anywhere: never a crash, at most one complaint, and never a delivery with a
    /// wrong outer header.
    @Test func everyFlippedBitIsJudged() {
        for packet in Shapes.all() {
            var bench = Bench()
            let outer = bench.send(packet)!
            let right = turnedAround(outer)
            for bit in 0..<right.count * 8 {
                var copy = bench
                let delivery = copy.answer(right.flipping(bit / 8, 0x80 >> UInt8(bit % 8)))
                #expect(copy.emulator.violations.total <= 1)
                if bit >= 12 * 8, bit < 24 * 8 || (bit >= 28 * 8 && bit < 68 * 8) {
                    #expect(delivery == nil, "bit \(bit)")
                    #expect(copy.emulator.violations.total == 1, "bit \(bit)")
                }
                if bit >= 68 * 8 { #expect(copy.emulator.violations.total == 1, "bit \(bit)") }
            }
            for count in 0..<right.count {
                var copy = bench
                copy.answer(Array(right[0..<count]))
                #expect(copy.emulator.violations.total == 1)
            }
        }
    }
}
