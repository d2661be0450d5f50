import Verification
import Wire

/// One kind of flow: what all its packets have in common, and which packets it may have.
struct FlowKind: Sendable {
    /// Templates by chance, each as often as its share says; of the first half of each pair for
    /// fragments, whose other half is the next template.
    var variants: [UInt16]
    var isFragmented: Bool
}

/// Every packet of a run, built beforehand: kinds of flows with their templates.
final class TemplateLibrary: @unchecked Sendable {
    /// What is sent, and behind it what should come back where that is something else. Written
    /// only in `init`, before the threads start.
    private(set) var templates: [PacketTemplate] = []
    private(set) var kinds: [FlowKind] = []
    private(set) var kindWeights: [Double] = []
    /// What should come back of those templates; joins them at the end.
    private var rewritten: [(of: Int, is: PacketTemplate)] = []

    static let variantSlots = 1024

    private let plan: TrafficPlan

    init(_ plan: TrafficPlan) {
        self.plan = plan
        for (version, share) in [(4, 1 - plan.ipv6), (6, plan.ipv6)] where share > 0 {
            // Their flows send two packets at a time.
            let fragmented = plan.fragments / (2 - plan.fragments)
            if fragmented > 0 { addFragments(version, share * fragmented) }
            guard fragmented < 1 else { continue }
            let total = plan.protocols.reduce(0) { $0 + $1.weight }
            for choice in plan.protocols {
                addFlows(
                    version, choice.value, share * (1 - fragmented) * choice.weight / total)
            }
        }
        for (number, answer) in rewritten {
            templates[number].answer = Int32(templates.count)
            templates.append(answer)
            templates[templates.count - 1].answer = Int32(templates.count - 1)
        }
        rewritten = []
    }

    // Sound: each template has memory of its own, from `InnerDraft.template`; a copy of one may be
    // used only while the library lives.
    deinit { for template in templates { unsafe template.bytes.deallocate() } }

    /// Flows of a protocol. UDP and TCP have a service for what only belongs on its own port.
    private func addFlows(_ version: Int, _ proto: InnerProtocol, _ weight: Double) {
        switch proto {
        case .udp:
            addServices(version, proto, weight, own: .dns, foreign: .tls, ports: (53, 3000))
        case .tcp:
            addServices(version, proto, weight, own: .tls, foreign: .dns, ports: (443, 3000))
        case .icmp, .other:
            addKind(version, proto, port: 0, [Weighted(.neutral, 1)], weight)
        }
    }

    /// - Parameters:
    ///   - own: the payload that has the first port for itself.
    ///   - foreign: a payload that this protocol never has: neutral stands in for it.
    private func addServices(
        _ version: Int, _ proto: InnerProtocol, _ weight: Double, own: PayloadTemplate,
        foreign: PayloadTemplate, ports: (UInt16, UInt16)
    ) {
        let payloads = plan.payloads.map {
            $0.value == foreign ? Weighted(.neutral, $0.weight) : $0
        }
        let total = payloads.reduce(0) { $0 + $1.weight }
        for (port, isOwn) in [(ports.0, true), (ports.1, false)] {
            let part = payloads.filter { ($0.value == own) == isOwn }
            let share = part.reduce(0) { $0 + $1.weight } / total
            if share > 0 { addKind(version, proto, port: port, part, weight * share) }
        }
    }

    private func addKind(
        _ version: Int, _ proto: InnerProtocol, port: UInt16,
        _ payloads: [Weighted<PayloadTemplate>], _ weight: Double
    ) {
        var numbers: [UInt16] = []
        var weights: [Double] = []
        for payload in payloads {
            for size in plan.sizes.sizes {
                let draft = InnerDraft(
                    version, proto, port: port, payload.value, size: size.value,
                    seed: plan.seed &+ UInt64(templates.count))
                numbers.append(add(draft))
                weights.append(payload.weight * size.weight)
            }
        }
        addKind(numbers, weights, weight, isFragmented: false)
    }

    private func addFragments(_ version: Int, _ weight: Double) {
        var numbers: [UInt16] = []
        for size in plan.sizes.sizes {
            let pair = InnerDraft.fragments(
                version, port: 3000, size: size.value, seed: plan.seed &+ UInt64(templates.count))
            numbers.append(add(pair.0))
            _ = add(pair.1)
        }
        addKind(numbers, plan.sizes.sizes.map(\.weight), weight, isFragmented: true)
    }

    private func addKind(
        _ numbers: [UInt16], _ weights: [Double], _ weight: Double, isFragmented: Bool
    ) {
        let dealt = FlowModel.deal(weights, slots: Self.variantSlots)
        kinds.append(FlowKind(variants: dealt.map { numbers[$0] }, isFragmented: isFragmented))
        kindWeights.append(weight)
    }

    /// Adds a template and works out what should come back of it.
    private func add(_ draft: InnerDraft) -> UInt16 {
        let number = templates.count
        precondition(number <= Int(UInt16.max))
        var template = draft.template(plan)
        template.answer = Int32(number)
        templates.append(template)
        if plan.expectation == .blog { expectBlog(draft, number) }
        return UInt16(number)
    }

    // ---- What should come back.

    private func expectBlog(_ draft: InnerDraft, _ number: Int) {
        let template = templates[number]
        let sent = Array(template.sample().dropFirst(Encapsulation.overhead))
        templates[number].dropsEveryFifth = template.version == 4 && template.layout == .echo
        switch BlogOracle.expect(sent) {
        case .drop: templates[number].answer = -1
        case .forward(sent): break
        case .forward(let other):
            rewritten.append((number, draft.rewritten(other).template(plan)))
        }
    }

    /// Mean bits of an outer packet, for rates in bits.
    var meanBits: Double {
        let total = kindWeights.reduce(0, +)
        var bits = 0.0
        for (kind, weight) in zip(kinds, kindWeights) {
            let lengths = kind.variants.map { number in
                kind.isFragmented
                    ? (templates[Int(number)].length + templates[Int(number) + 1].length) / 2
                    : templates[Int(number)].length
            }
            bits += weight / total * Double(lengths.reduce(0, +)) / Double(lengths.count) * 8
        }
        return bits
    }
}

extension PacketTemplate {
    /// The packet of some flow: whole, with right checksums.
    func sample() -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: length)
        let flow = FlowIdentity(
            node: 0x0A00_0001, port: 30_000, endpoint: 1, cookie: 1, client: 0x0A00_0001,
            server: 0xAC10_0001, clientPort: 40_000)
        // Sound: both pointers hold within the closures, and `bytes` has `length` bytes.
        var template = self
        unsafe bytes.withUnsafeMutableBytes { buffer in
            unsafe withUnsafeMutablePointer(to: &template) {
                unsafe $0.write(flow, isReply: false, mark: 1, sequence: 1, to: buffer.baseAddress!)
            }
        }
        return bytes
    }
}

/// An inner packet in which all that differs from packet to packet is zero, and where that stands.
/// Offsets count from its first byte.
struct InnerDraft {
    private(set) var bytes: [UInt8]
    private let version: Int
    private let number: UInt8
    private let transport: Int
    private var layout = PacketTemplate.Layout.none
    private let serverPort: UInt16
    private var segment = 0
    /// Transport checksum.
    private var checksum = -1
    private var identification = -1
    private var stampIsNeutral = false
    private let trafficClass: TrafficClass
    /// Bytes behind the packet's own that its checksum covers: the datagram's other fragment.
    private var coveredElsewhere: [UInt8] = []

    private static let experimental: UInt8 = 253  // RFC 3692
    private static let hopLimit: UInt8 = 63
    /// Where the stamp stands: the last four bytes that begin at an even offset.
    private var stamp: Int { (bytes.count - 4) & ~1 }

    /// A whole packet of `size` bytes.
    init(
        _ version: Int, _ proto: InnerProtocol, port: UInt16, _ payload: PayloadTemplate,
        size: Int, seed: UInt64
    ) {
        self.version = version
        serverPort = port
        transport = version == 4 ? 20 : 40
        let room = size - transport
        var rest: [UInt8]
        switch proto {
        case .udp:
            number = 17
            layout = .ports
            checksum = transport + 6
            rest = [0, 0, 0, 0] + Self.big16(room) + [0, 0]
            trafficClass = TrafficClass(payload)
        case .tcp:
            number = 6
            layout = .ports
            checksum = transport + 16
            segment = room - 20
            // Data offset 5, PSH and ACK, a full window.
            rest =
                [UInt8](repeating: 0, count: 8) + [0, 0, 0, 1, 0x50, 0x18, 0xFF, 0xFF, 0, 0, 0, 0]
            trafficClass = .tcp
        case .icmp:
            number = version == 4 ? 1 : 58
            layout = .echo
            checksum = transport + 2
            rest = [UInt8](repeating: 0, count: 8)
            trafficClass = .icmp
        case .other:
            number = Self.experimental
            rest = []
            trafficClass = .other
        }
        rest += Self.fill(payload, size - transport - rest.count, seed)
        bytes = Self.header(version, number, rest.count, fragment: nil) + rest
        clearStamp()
    }

    /// The two halves of a datagram, each of about `size` bytes.
    static func fragments(
        _ version: Int, port: UInt16, size: Int, seed: UInt64
    ) -> (InnerDraft, InnerDraft) {
        let header = version == 4 ? 20 : 48
        // All but the last fragment hold a multiple of eight bytes.
        let first = (size - header) & ~7
        let last = size - header
        let udp = [0, 0, 0, 0] + big16(first + last) + [0, 0]
        var later = InnerDraft(
            half: version, port, PayloadTemplate.neutral.bytes(last, seed: seed), at: first)
        later.clearStamp()
        var earlier = InnerDraft(
            half: version, port, udp + PayloadTemplate.neutral.bytes(first - 8, seed: seed &+ 1),
            at: 0)
        earlier.layout = .ports
        earlier.checksum = header + 6
        earlier.clearStamp()
        // The complement that stands before a stamp adds up to nothing with it.
        earlier.coveredElsewhere = Array(later.bytes[header...])
        return (earlier, later)
    }

    private init(half version: Int, _ port: UInt16, _ data: [UInt8], at offset: Int) {
        self.version = version
        number = 17
        serverPort = port
        transport = version == 4 ? 20 : 48
        identification = version == 4 ? 4 : 44
        stampIsNeutral = true
        trafficClass = .fragment
        bytes = Self.header(version, number, data.count, fragment: offset) + data
    }

    /// A payload that keeps what it is when its last bytes become the stamp.
    private static func fill(_ payload: PayloadTemplate, _ length: Int, _ seed: UInt64) -> [UInt8] {
        switch payload {
        // Their own padding, or data without meaning, is at the end.
        case .tls, .dns: return payload.bytes(length, seed: seed)
        default:
            let stamp = 4 + length % 2
            return payload.bytes(length - stamp, seed: seed) + [UInt8](repeating: 0, count: stamp)
        }
    }

    private mutating func clearStamp() {
        let from = stampIsNeutral ? stamp - 4 : stamp
        for i in from..<stamp + 4 { bytes[i] = 0 }
    }

    /// The same packet with what a policy made of it: other payload, other lengths.
    func rewritten(_ packet: [UInt8]) -> InnerDraft {
        var draft = self
        draft.bytes = packet
        var cleared = [(source, 4), (source + (version == 4 ? 4 : 16), 4), (draft.stamp, 4)]
        cleared.append((transport, 4))
        cleared.append((checksum, 2))
        if version == 4 { cleared.append((10, 2)) }
        for (at, count) in cleared {
            for i in at..<at + count { draft.bytes[i] = 0 }
        }
        return draft
    }

    /// The last 32 bits of the source address.
    private var source: Int { version == 4 ? 12 : 20 }

    private static func header(
        _ version: Int, _ number: UInt8, _ length: Int, fragment offset: Int?
    ) -> [UInt8] {
        let zero = [UInt8](repeating: 0, count: 4)
        if version == 4 {
            // More fragments, offset in eights; else do not fragment (RFC 6864: no identification).
            let flags = offset.map { $0 == 0 ? 0x2000 : $0 / 8 } ?? 0x4000
            return [0x45, 0] + big16(20 + length) + [0, 0] + big16(flags) + [hopLimit, number]
                + [0, 0] + zero + zero
        }
        // fd00:0:0:a::, RFC 4193, for both ends: only the last 32 bits change places in a reply.
        let net: [UInt8] = [0xFD, 0, 0, 0, 0, 0, 0, 0x0A] + zero + zero
        let next = offset == nil ? number : 44
        var bytes = [0x60, 0, 0, 0] + big16(length + (offset == nil ? 0 : 8)) + [next, hopLimit]
        bytes += net + net
        if let offset {
            // RFC 8200 §4.5: the lowest bit says that more follow.
            bytes += [number, 0] + big16(offset | (offset == 0 ? 1 : 0)) + zero
        }
        return bytes
    }

    private static func big16(_ value: Int) -> [UInt8] { [UInt8(value >> 8), UInt8(value & 255)] }

    /// The outer packet around it, with its sums.
    func template(_ plan: TrafficPlan) -> PacketTemplate {
        let overhead = Encapsulation.overhead
        let length = overhead + bytes.count
        let memory = UnsafeMutableRawPointer.allocate(byteCount: length, alignment: 64)
        // Sound: the memory has `length` bytes, and the library frees it with its templates.
        let view = unsafe PacketView(unsafeBase: memory, count: length)
        for (i, byte) in bytes.enumerated() { view.set8(overhead + i, byte) }
        let header = GatewayHeader(
            node: 0, target: plan.target, sourcePort: 0, endpoint: 0, cookie: 0,
            innerVersion: UInt8(version))
        Encapsulation.write(header, innerSum: nil, to: view)
        view.set16(10, 0)

        var template = unsafe PacketTemplate(
            bytes: memory, length: length, version: UInt8(version), source: overhead + source,
            destination: overhead + source + (version == 4 ? 4 : 16),
            transport: overhead + transport, layout: layout, stamp: overhead + stamp,
            hasOuterChecksum: plan.outerChecksum == .valid, trafficClass: trafficClass.rawValue)
        template.serverPort = serverPort
        template.segment = UInt32(segment)
        template.echoTypes = version == 4 ? (8, 0) : (128, 129)
        template.stampIsNeutral = stampIsNeutral
        if checksum >= 0 { template.checksum = overhead + checksum }
        if identification >= 0 { template.identification = overhead + identification }
        template.usesPseudoHeader = number != 1
        addSums(&template, view)
        return template
    }

    private func addSums(_ template: inout PacketTemplate, _ view: PacketView) {
        let overhead = Encapsulation.overhead
        var header = InternetChecksum()
        header.add(view, at: 0, count: 20)
        template.outerHeaderSum = FieldSum(header)

        var outer = InternetChecksum()
        let datagram = view.count - 20
        outer.addPseudoHeader(of: view, at: 0, version: 4, IPProtocol.udp, length: datagram)
        outer.add(view, at: 20, count: datagram)
        template.outerSum = FieldSum(outer)

        var innerHeader = InternetChecksum()
        if version == 4 { innerHeader.add(view, at: overhead, count: 20) }
        template.innerHeaderSum = FieldSum(innerHeader)

        var sum = InternetChecksum()
        sum.add(view, at: overhead + transport, count: bytes.count - transport)
        var elsewhere = coveredElsewhere
        withPacketView(&elsewhere) { sum.add($0, at: 0, count: $0.count) }
        if template.usesPseudoHeader {
            // The addresses' constant part; IPv4 has none.
            if version == 6 { sum.add(view, at: overhead + 8, count: 32) }
            sum.addPseudoHeader(
                protocolNumber: UInt8(number),
                length: bytes.count - transport + coveredElsewhere.count)
        }
        template.transportSum = FieldSum(sum)
    }
}
