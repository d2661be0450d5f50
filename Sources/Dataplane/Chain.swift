import Wire

/// Two processors, one after the other, as one: `Chain<Mine, Rules>`.
///
/// The first decides first. Its `drop` is final: the second never sees the packet, nor does its
/// state of the flow. What the first forwards, changed or not, goes on to the second, whose verdict
/// is the verdict. Both have their own flow state, counters, events and rules, and both read the
/// section `processor`, whose keys are those of both. Either may be a chain itself.
///
/// `Rules` stand last: what they remember of a flow is whether its packets went on.
public struct Chain<First: PacketProcessor & ~Copyable, Second: PacketProcessor & ~Copyable>:
    PacketProcessor, ~Copyable
{
    public typealias Configuration = ChainConfiguration<First.Configuration, Second.Configuration>
    public typealias FlowState = ChainFlow<First.FlowState, Second.FlowState>

    @usableFromInline var first: First
    @usableFromInline var second: Second
    /// Where the parts and rules of the second begin.
    @usableFromInline let secondPart: Int
    @usableFromInline let secondRule: Int

    @inlinable
    public init(configuration: Configuration, worker: Int) throws {
        precondition(!First.parts.contains(where: \.decidesByPolicy), "Rules stand last in a chain")
        // Both are there before either belongs to the chain: Swift cannot throw out of a half.
        let first = try First(configuration: configuration.first, worker: worker)
        let second = try Second(configuration: configuration.second, worker: worker)
        self.first = first
        self.second = second
        secondPart = First.parts.count
        secondRule = First.ruleNames.count
    }

    @inlinable @inline(__always)
    public mutating func startBurst() {
        first.startBurst()
        second.startBurst()
    }

    @inlinable @inline(__always)
    public mutating func adopt(_ configuration: Configuration) {
        first.adopt(configuration.first)
        second.adopt(configuration.second)
    }

    /// What both pass.
    @inlinable
    public func forwardsUndecodable(_ options: AWSOptions, _ settings: PathSettings) -> Bool {
        first.forwardsUndecodable(options, settings)
            && second.forwardsUndecodable(options, settings)
    }

    @inlinable @inline(__always)
    public mutating func process(
        _ packet: inout Packet, flow: inout FlowState, context: inout Context
    ) -> Verdict {
        var firstContext = context.of(First.self, part: 0, firstRule: 0)
        let verdict = first.process(&packet, flow: &flow.first, context: &firstContext)
        guard verdict == .forward else { return verdict }
        var secondContext = context.of(Second.self, part: secondPart, firstRule: secondRule)
        return second.process(&packet, flow: &flow.second, context: &secondContext)
    }

    @inlinable
    public static var newFlow: FlowState { FlowState(First.newFlow, Second.newFlow) }

    @inlinable
    public static func isLive(_ flow: FlowState, fromLow: Bool) -> Bool {
        First.isLive(flow.first, fromLow: fromLow) && Second.isLive(flow.second, fromLow: fromLow)
    }

    public static var ruleNames: [String] { First.ruleNames + Second.ruleNames }
    public static var parts: [ProcessorPart] { First.parts + Second.parts }

    public static func validate(_ configuration: Configuration) throws {
        try First.validate(configuration.first)
        try Second.validate(configuration.second)
    }

    public static func configuration(from decoder: any Decoder) throws -> Configuration {
        Configuration(
            first: try First.configuration(from: decoder),
            second: try Second.configuration(from: decoder))
    }
}

/// What both processors of a chain remember of a flow.
public struct ChainFlow<First: BitwiseCopyable, Second: BitwiseCopyable>: BitwiseCopyable {
    @usableFromInline var first: First
    @usableFromInline var second: Second

    @inlinable
    init(_ first: First, _ second: Second) {
        self.first = first
        self.second = second
    }
}

extension ChainFlow: Sendable where First: Sendable, Second: Sendable {}

/// The configuration of both processors of a chain.
public struct ChainConfiguration<First: Decodable & Sendable, Second: Decodable & Sendable>:
    Decodable, Sendable
{
    public var first: First
    public var second: Second

    @inlinable
    public init(first: First, second: Second) {
        self.first = first
        self.second = second
    }

    /// Both from the same keys.
    public init(from decoder: any Decoder) throws {
        first = try First(from: decoder)
        second = try Second(from: decoder)
    }
}
