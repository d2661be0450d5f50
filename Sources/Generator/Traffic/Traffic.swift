import CSluice
import Wire

/// What all threads of a run share, and none changes.
struct Traffic: Sendable {
    /// With as many flows as there are: a capture has its own.
    let plan: TrafficPlan
    let library: TemplateLibrary
    let model: FlowModel
    let malformed: [MalformedTraffic]
    let replay: ReplayCorpus?

    init(_ plan: TrafficPlan, nodes: [UInt32]) {
        var plan = plan
        let replayed = plan.replay.map { ReplayCorpus.flows($0) }
        if let replayed { plan.flows = replayed.count }
        self.plan = plan
        library = TemplateLibrary(plan)
        let model = FlowModel(plan, nodes: nodes, kindWeights: library.kindWeights)
        self.model = model
        replay = replayed.map { ReplayCorpus(plan, plan.replay!, flows: $0.of, model) }
        malformed =
            plan.malformed > 0
            ? MalformedCorpus.all.enumerated().map {
                MalformedTraffic($0.element, number: $0.offset, plan, nodes)
            } : []
    }

    /// Mean bits of an outer packet, for rates in bits.
    var meanBits: Double { replay?.meanBits ?? library.meanBits }
}

/// A packet of the malformed corpus, ready to be sent.
struct MalformedTraffic: Sendable {
    /// The outer packet.
    let bytes: [UInt8]
    let node: UInt32
    let expectsDrop: Bool

    /// Malformed packets are known by their outer source ports, whatever else is wrong with them:
    /// this one and those that follow.
    static let firstPort: UInt16 = 20_000
    /// Their flows have numbers above those of all others.
    private static let firstFlow: UInt32 = 0xFF_0000

    init(_ packet: MalformedPacket, number: Int, _ plan: TrafficPlan, _ nodes: [UInt32]) {
        node = nodes[number % nodes.count]
        let header = GatewayHeader(
            node: node, target: plan.target, sourcePort: Self.firstPort + UInt16(number),
            endpoint: FlowModel.firstEndpoint,
            cookie: FlowModel.cookie(Self.firstFlow + UInt32(number), 0))
        bytes = packet.bytes(header, checksum: plan.outerChecksum)
        expectsDrop = packet.expectation == .drop
    }
}
