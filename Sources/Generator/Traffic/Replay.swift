import Verification
import Wire

/// The packets of a capture, ready to be sent over and over: nothing in them is changed, so what
/// comes back is known by its contents.
struct ReplayCorpus: Sendable {
    struct Item: Sendable {
        /// The outer packet.
        let bytes: [UInt8]
        let flow: UInt32
        /// What should come back, or what should not.
        let content: Int
        let expectsDrop: Bool
    }

    let items: [Item]
    /// Inner tuples.
    let flowCount: Int
    /// Different contents, and where each is found by its fingerprint's body.
    let contents: [(fingerprint: Fingerprint, flow: UInt32, expectsDrop: Bool)]
    let contentOfBody: [UInt64: Int]

    /// The flows of the packets, in the order of their first ones. Both directions are one flow;
    /// what is no IP packet is a flow of its own.
    static func flows(_ packets: [[UInt8]]) -> (of: [UInt32], count: Int) {
        var numbers: [FlowKey: UInt32] = [:]
        var strange: [UInt64: UInt32] = [:]
        var count: UInt32 = 0
        let flows = packets.map { packet in
            var bytes = packet
            let key = withPacketView(&bytes) { InnerPacket($0, at: 0)?.key(endpoint: 0) }
            let known = key.map { numbers[$0] } ?? strange[Fingerprint(packet).body]
            if let known { return known }
            defer { count += 1 }
            if let key { numbers[key] = count } else { strange[Fingerprint(packet).body] = count }
            return count
        }
        return (flows, Int(count))
    }

    init(_ plan: TrafficPlan, _ packets: [[UInt8]], flows: [UInt32], _ model: FlowModel) {
        var items: [Item] = []
        var contents: [(fingerprint: Fingerprint, flow: UInt32, expectsDrop: Bool)] = []
        var contentOfBody: [UInt64: Int] = [:]
        for (packet, flow) in zip(packets, flows) {
            var answer = packet
            var expectsDrop = false
            if plan.expectation == .blog {
                switch BlogOracle.expect(packet) {
                case .drop: expectsDrop = true
                case .forward(let bytes): answer = bytes
                }
            }
            let fingerprint = Fingerprint(answer)
            let content = contentOfBody[fingerprint.body] ?? contents.count
            if content == contents.count {
                contentOfBody[fingerprint.body] = content
                contents.append((fingerprint, flow, expectsDrop))
            }
            let identity = model.identity(flow, 0)
            let header = GatewayHeader(
                node: identity.node, target: plan.target, sourcePort: identity.port,
                endpoint: identity.endpoint, cookie: identity.cookie,
                innerVersion: packet.first.map { $0 >> 4 } ?? 4)
            items.append(
                Item(
                    bytes: Encapsulation.packet(
                        header, inner: packet, checksum: plan.outerChecksum),
                    flow: flow, content: content, expectsDrop: expectsDrop))
        }
        self.items = items
        self.contents = contents
        self.contentOfBody = contentOfBody
        flowCount = Int((flows.max() ?? 0) + 1)
    }

    /// Mean bits of an outer packet.
    var meanBits: Double {
        Double(items.reduce(0) { $0 + $1.bytes.count }) * 8 / Double(items.count)
    }
}

/// Which packets of a capture are out, by what should come back.
struct ReplayWindow {
    /// Numbers of sent packets, oldest first, from `head` on.
    private struct Queue {
        var numbers: [UInt32] = []
        var head = 0
    }

    private var queues: [Queue]

    init(contents: Int) { queues = [Queue](repeating: Queue(), count: contents) }

    mutating func sent(_ content: Int, _ number: UInt32) {
        queues[content].numbers.append(number)
        guard queues[content].head > 1024 else { return }
        queues[content].numbers.removeFirst(queues[content].head)
        queues[content].head = 0
    }

    /// Takes the packet that has come back out: of those with this content the first that was sent
    /// after `newest`, the last of its flow to come back; else the oldest. Nil = none is out.
    ///
    /// - Precondition: what the log has forgotten is forgotten here: another packet has its place.
    mutating func returned(_ content: Int, after newest: UInt32) -> UInt32? {
        let queue = queues[content]
        guard queue.head < queue.numbers.count else { return nil }
        let rest = queue.numbers[queue.head...]
        let at = rest.firstIndex { Int32(bitPattern: $0 &- newest) > 0 } ?? queue.head
        let number = queue.numbers[at]
        if at == queue.head {
            queues[content].head += 1
        } else {
            queues[content].numbers.remove(at: at)
        }
        return number
    }

    /// Forgets packets older than `number` of this content. True when there were any.
    @discardableResult
    mutating func forget(_ content: Int, before number: UInt32) -> Bool {
        let head = queues[content].head
        while queues[content].head < queues[content].numbers.count,
            Int32(bitPattern: queues[content].numbers[queues[content].head] &- number) < 0
        {
            queues[content].head += 1
        }
        return queues[content].head > head
    }
}
