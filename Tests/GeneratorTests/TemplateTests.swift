import SluiceTesting
import Testing
import Verification
import Wire

@testable import Generator

/// What is sent, held against other code that builds and reads packets.
@Suite struct TemplateTests {
    static func plan(_ change: (inout TrafficPlan) -> Void = { _ in }) -> TrafficPlan {
        var plan = TrafficPlan(interface: "eth0", target: 0xC0A8_1405)
        plan.protocols = InnerProtocol.allCases.map { Weighted($0, 1) }
        plan.payloads = PayloadTemplate.names.map { Weighted(PayloadTemplate(name: $0)!, 1) }
        plan.ipv6 = 0.5
        plan.fragments = 0.2
        plan.sizes = SizeMix([64, 65, 128, 1499, 8500].map { Weighted($0, 1) })
        change(&plan)
        return plan
    }

    private static let flow = FlowIdentity(
        node: 0x0A01_0203, port: 31_337, endpoint: 0x0123_4567_89AB_CDEF, cookie: 0xDEAD_BEEF,
        client: 0x0A12_3456, server: 0xAC1F_0001, clientPort: 51_000)

    /// - Parameter held: a packet of the same template, to be written over.
    private func write(
        _ template: PacketTemplate, isReply: Bool = false, mark: UInt32 = 0x1234_5678,
        sequence: UInt32 = 0x0102_0304, over held: [UInt8]? = nil
    ) -> [UInt8] {
        var template = template
        var bytes = held ?? [UInt8](repeating: 0xEE, count: template.length)
        bytes.withUnsafeMutableBytes { buffer in
            withUnsafeMutablePointer(to: &template) {
                $0.write(
                    Self.flow, isReply: isReply, mark: mark, sequence: sequence,
                    to: buffer.baseAddress!, holdsOne: held != nil)
            }
        }
        return bytes
    }

    @Test(arguments: [OuterChecksum.valid, .zero])
    func aPacketOverAnotherOfItsTemplateIsTheSame(_ checksum: OuterChecksum) {
        let library = TemplateLibrary(Self.plan { $0.outerChecksum = checksum })
        defer { withExtendedLifetime(library) {} }
        for template in library.templates {
            for isReply in [false, true] {
                let held = write(template, isReply: !isReply, mark: 0xFFFF_0001, sequence: 77)
                #expect(
                    write(template, isReply: isReply, over: held)
                        == write(template, isReply: isReply))
            }
        }
    }

    @Test func aReplySwapsTheAddressesWhole() {
        let library = TemplateLibrary(Self.plan())
        defer { withExtendedLifetime(library) {} }
        for template in library.templates {
            let length = template.version == 4 ? 4 : 16
            let source = Encapsulation.overhead + (template.version == 4 ? 12 : 8)
            let sent = write(template), reply = write(template, isReply: true)
            let first = source..<source + length, second = source + length..<source + 2 * length
            #expect(Array(sent[first]) == Array(reply[second]))
            #expect(Array(sent[second]) == Array(reply[first]))
        }
    }

    @Test(arguments: [OuterChecksum.valid, .zero], [Generator.Expectation.blog, .reflect])
    func everyPacketIsWhole(_ checksum: OuterChecksum, _ expectation: Generator.Expectation) {
        let library = TemplateLibrary(
            Self.plan {
                $0.outerChecksum = checksum
                $0.expectation = expectation
            })
        #expect(library.templates.count > 100)
        for template in library.templates {
            for isReply in [false, true] {
                var bytes = write(template, isReply: isReply)
                let inner = Array(bytes.dropFirst(Encapsulation.overhead))
                // The outer header is what the emulator writes.
                let header = GatewayHeader(
                    node: Self.flow.node, target: 0xC0A8_1405, sourcePort: Self.flow.port,
                    endpoint: Self.flow.endpoint, cookie: Self.flow.cookie,
                    innerVersion: template.version)
                #expect(
                    bytes == Encapsulation.packet(header, inner: inner, checksum: checksum))
                withPacketView(&bytes) { view in
                    let packet = InnerPacket(view, at: Encapsulation.overhead)!
                    #expect(packet.length == inner.count)
                    let isRight = packet.checksumsAreRight(view)
                    #expect(isRight)
                    #expect(packet.isFragment == (template.identification >= 0))
                }
            }
        }
    }

    @Test func sizesAreInnerBytes() {
        for template in TemplateLibrary(Self.plan()).templates where template.identification < 0 {
            let inner = template.length - Encapsulation.overhead
            #expect([64, 65, 128, 1499, 8500].contains(inner))
        }
    }

    /// The same datagram by the packet builder of the tests.
    @Test func aUDPPacketIsTheBuilders() {
        let library = TemplateLibrary(
            Self.plan {
                $0.protocols = [Weighted(.udp, 1)]
                $0.payloads = [Weighted(.neutral, 1)]
                $0.ipv6 = 0
                $0.fragments = 0
                $0.sizes = .fixed(128)
            })
        let bytes = write(library.templates[0])
        let inner = Array(bytes.dropFirst(Encapsulation.overhead))
        #expect(Array(inner.suffix(4)) == [0x12, 0x34, 0x56, 0x78])
        let payload = Array(inner.dropFirst(28))
        let built = PacketBuilder.udp4(51_000, 3000, payload)
        // Addresses, hop limit and identification are the builder's own.
        #expect(Array(built[20..<26]) == Array(inner[20..<26]))
        #expect(Array(inner[12..<20]) == [10, 0x12, 0x34, 0x56, 0xAC, 0x1F, 0, 1])
        #expect(Array(inner[0..<10]) == [0x45, 0, 0, 128, 0, 0, 0x40, 0, 63, 17])
    }

    @Test(arguments: [4, 6], [64, 128, 1499])
    func twoHalvesAreOneDatagram(_ version: Int, _ size: Int) throws {
        let library = TemplateLibrary(
            Self.plan {
                $0.fragments = 1
                $0.ipv6 = version == 6 ? 1 : 0
                $0.sizes = .fixed(size)
            })
        // Sequence numbers 6 and 7, and different stamps.
        let first = write(library.templates[0], mark: 0x0BAD_CAFE, sequence: 6)
        let later = write(library.templates[1], mark: 0x1357_9BDF, sequence: 7)
        let header = Encapsulation.overhead + (version == 4 ? 20 : 48)
        #expect(library.kinds.allSatisfy { $0.isFragmented })
        var bytes = Array(first[header...]) + Array(later[header...])
        let length = bytes.count
        #expect(Int(bytes[4]) << 8 | Int(bytes[5]) == length)
        let (start, end) = version == 4 ? (12, 20) : (8, 40)
        bytes =
            Array(first[(Encapsulation.overhead + start)..<(Encapsulation.overhead + end)]) + bytes
        withPacketView(&bytes) { view in
            var sum = InternetChecksum()
            sum.add(view, at: 0, count: view.count)
            sum.add(UInt16(17))
            sum.add(UInt32(length))
            #expect(sum.verifies)
        }
        // One identification; the first has more to follow, the other starts behind it.
        if version == 4 {
            #expect(first[72...73] == [0, 3] && later[72...73] == [0, 3])
            #expect(first[74...75] == [0x20, 0])
            #expect((Int(later[74]) << 8 | Int(later[75])) * 8 == first.count - header)
        } else {
            #expect(first[112...115] == [0, 0, 0, 3] && later[112...115] == [0, 0, 0, 3])
            #expect(first[110...111] == [0, 1])
            #expect(Int(later[110]) << 8 | Int(later[111]) == first.count - header)
        }
    }

    @Test func theBlogPolicysAnswersAreExpected() {
        let library = TemplateLibrary(Self.plan { $0.expectation = .blog })
        var seen: Set<String> = []
        for (number, template) in library.templates.enumerated() where template.answer != number {
            guard let trafficClass = TrafficClass(rawValue: template.trafficClass) else { continue }
            let sent = Array(write(template, sequence: 1).dropFirst(Encapsulation.overhead))
            guard template.answer >= 0 else {
                #expect(BlogOracle.expect(sent) == .drop)
                seen.insert("\(trafficClass) dropped")
                continue
            }
            let answer = library.templates[Int(template.answer)]
            let back = Array(write(answer, sequence: 1).dropFirst(Encapsulation.overhead))
            // A template that is itself an answer has its own number nowhere.
            guard answer.answer < 0 || Int(answer.answer) < library.templates.count else {
                continue
            }
            if trafficClass == .rewrite, number < Int(template.answer) {
                #expect(BlogOracle.expect(sent) == .forward(back))
                seen.insert("\(trafficClass) rewritten")
            }
        }
        #expect(seen.isSuperset(of: ["drop dropped", "rewrite rewritten"]))
    }

    @Test func echoesAreRequestsAndReplies() {
        let library = TemplateLibrary(
            Self.plan {
                $0.protocols = [Weighted(.icmp, 1)]
                $0.fragments = 0
                $0.sizes = .fixed(84)
            })
        for template in library.templates {
            let types = [false, true].map { write(template, isReply: $0)[template.transport] }
            #expect(types == (template.version == 4 ? [8, 0] : [128, 129]))
        }
    }

    @Test func sharesAreKept() {
        let library = TemplateLibrary(
            Self.plan {
                $0.payloads = [Weighted(.neutral, 80), Weighted(.drop, 15), Weighted(.dns, 5)]
                $0.protocols = [Weighted(.udp, 3), Weighted(.icmp, 1)]
                $0.ipv6 = 0.25
                $0.fragments = 0
                $0.sizes = .imix
            })
        #expect(abs(library.kindWeights.reduce(0, +) - 1) < 1e-9)
        // DNS flows, then the others, then echoes, for each version.
        let expected = [0.75 * 0.05, 0.75 * 0.95, 0.25]
        for (i, weight) in library.kindWeights.prefix(3).enumerated() {
            #expect(abs(weight - expected[i] * 0.75) < 1e-9)
        }
        let chat = library.kinds[1].variants.map { library.templates[Int($0)] }
        let dropped = chat.filter { $0.trafficClass == TrafficClass.drop.rawValue }.count
        #expect(abs(Double(dropped) / Double(chat.count) - 15 / 95) < 0.01)
        let small = chat.filter { $0.length == 64 + 68 }.count
        #expect(abs(Double(small) / Double(chat.count) - 7 / 12) < 0.02)
        #expect(abs(library.meanBits / 8 - 68 - SizeMix.imix.mean) < 8)
    }
}
