import Wire

/// What a flow is, worked out from its number and the seed: no flow takes memory for it.
struct FlowIdentity: BitwiseCopyable, Equatable {
    /// Outer source, host order.
    var node: UInt32
    /// Outer UDP source port.
    var port: UInt16
    var endpoint: UInt64
    var cookie: UInt32
    /// The two ends: an IPv4 address, or the last 32 bits of an IPv6 address; host order.
    var client: UInt32
    var server: UInt32
    /// The client's port, or the identifier of its echo requests.
    var clientPort: UInt16
}

/// The flows of a run, 1 to 16.7 million, and how many there are of each kind.
struct FlowModel: Sendable {
    private let seed: UInt64
    private let nodes: [UInt32]
    private let endpoints: UInt32
    private let threads: UInt32
    /// Kinds of flows by chance, each as often as its share says.
    private let kinds: [UInt8]

    /// Option 1 of the first endpoint; the next one's is one higher.
    static let firstEndpoint: UInt64 = 0x0123_4567_89AB_0000
    /// Ports of flows start here; below it are those of malformed packets.
    static let firstPort: UInt32 = 24_576
    private static let kindSlots = 4096

    /// - Parameter kindWeights: of each kind, in the order of their numbers.
    init(_ plan: TrafficPlan, nodes: [UInt32], kindWeights: [Double]) {
        precondition(!nodes.isEmpty)
        seed = plan.seed
        self.nodes = nodes
        endpoints = UInt32(plan.endpoints)
        threads = UInt32(plan.threads)
        kinds = Self.deal(kindWeights, slots: Self.kindSlots).map { UInt8($0) }
    }

    /// The kind of a flow. Neighbours get different ones (the golden ratio's multiples fall evenly),
    /// so that the shares hold for few flows too.
    @inline(__always)
    func kind(_ flow: UInt32) -> Int {
        let place = (UInt64(flow) &* 0x9E37_79B9_7F4A_7C15) >> 52
        return Int(kinds[Int(place)])
    }

    /// The flow's number `flow` in its life `generation`.
    @inline(__always)
    func identity(_ flow: UInt32, _ generation: UInt8) -> FlowIdentity {
        var dice = SplitMix64(seed: seed &+ UInt64(flow) &* 0xD1B5_4A32_D192_ED03)
        let a = dice.next()
        let b = UInt32(truncatingIfNeeded: a >> 32)
        var port = Self.firstPort &+ Self.part(UInt32(truncatingIfNeeded: a), of: 40_000)
        // The thread that owns the flow is known by its port.
        if threads > 1 { port = port &- port % threads &+ flow % threads }
        let node = Self.part(b, of: UInt32(truncatingIfNeeded: nodes.count))
        // Evenly spread, and not in step with the kinds.
        let endpoint = Self.part(flow &* 0x6A09_E667, of: endpoints)
        return FlowIdentity(
            node: nodes[Int(node)],
            port: UInt16(truncatingIfNeeded: port),
            endpoint: Self.firstEndpoint &+ UInt64(endpoint),
            cookie: Self.cookie(flow, generation),
            // 10.0.0.0/8: every flow has its own client. 172.16.0.0/12.
            client: 0x0A00_0000 | flow & 0x00FF_FFFF,
            server: 0xAC10_0000 | b >> 12,
            clientPort: UInt16(
                truncatingIfNeeded: 1024
                    &+ Self.part(UInt32(truncatingIfNeeded: a >> 16), of: 60_000)))
    }

    /// A number below `count` for 32 bits of chance.
    @inline(__always)
    private static func part(_ random: UInt32, of count: UInt32) -> UInt32 {
        UInt32(truncatingIfNeeded: (UInt64(random) &* UInt64(count)) >> 32)
    }

    /// A cookie names flow and life, one to one, and looks like chance. 0 is none.
    @inline(__always)
    static func cookie(_ flow: UInt32, _ generation: UInt8) -> UInt32 {
        var x = flow | UInt32(generation) << 24
        x = (x ^ 0x5BD1_E995) &* 0x9E37_79B1
        x ^= x >> 15
        return x &* 0x85EB_CA77
    }

    /// Flow and life of a cookie.
    @inline(__always)
    static func owner(of cookie: UInt32) -> (flow: UInt32, generation: UInt8) {
        var x = cookie &* inverse2
        x ^= x >> 15 ^ x >> 30
        x = (x &* inverse1) ^ 0x5BD1_E995
        return (x & 0x00FF_FFFF, UInt8(x >> 24))
    }

    // The multipliers' inverses modulo 2^32.
    private static let inverse1 = inverse(0x9E37_79B1)
    private static let inverse2 = inverse(0x85EB_CA77)

    private static func inverse(_ odd: UInt32) -> UInt32 {
        // Newton's iteration: each step doubles the right bits.
        var x = odd
        for _ in 0..<5 { x = x &* (2 &- odd &* x) }
        return x
    }

    /// `slots` numbers, each number as often as its weight says, evenly mixed.
    static func deal(_ weights: [Double], slots: Int) -> [Int] {
        let total = weights.reduce(0, +)
        precondition(total > 0)
        var dealt: [Int] = []
        var upTo = 0.0
        for (number, weight) in weights.enumerated() {
            upTo += weight
            let end = Int((upTo / total * Double(slots)).rounded())
            while dealt.count < end { dealt.append(number) }
        }
        return dealt
    }
}
