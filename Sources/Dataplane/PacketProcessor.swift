import Wire

/// The logic of an appliance: decides each packet, and may change it.
///
/// One instance per worker, made and used on the worker's thread. The whole loop is specialised
/// for the conforming type: nothing here costs a dynamic call.
public protocol PacketProcessor: ~Copyable, SendableMetatype {
    /// What the processor remembers of a flow, both directions in one value.
    associatedtype FlowState: BitwiseCopyable = NoFlowState

    /// Rules whose hits are counted, in the order of their index.
    static var ruleNames: [String] { get }

    /// The state of a flow seen for the first time.
    static var newFlow: FlowState { get }

    /// Called once per worker, before traffic.
    init(worker: Int) throws

    /// Called at the start of every burst: the moment to take over a new configuration, which may
    /// change the settings too.
    mutating func adopt(_ settings: inout PathSettings)

    /// An inner packet that cannot be decoded passes instead of being dropped: `process` never sees
    /// it. - Parameter options: as far as the Geneve header had them.
    func forwardsUndecodable(_ options: AWSOptions, _ settings: PathSettings) -> Bool

    /// Decides one packet. Without an entry in the flow table `flow` is a fresh value that is
    /// thrown away, and `context.flowIsTracked` is false.
    mutating func process(
        _ packet: inout Packet, flow: inout FlowState, context: inout ProcessorContext
    ) -> Verdict
}

extension PacketProcessor where Self: ~Copyable {
    public static var ruleNames: [String] { [] }

    @inlinable @inline(__always)
    public mutating func adopt(_ settings: inout PathSettings) {}

    @inlinable
    public func forwardsUndecodable(_ options: AWSOptions, _ settings: PathSettings) -> Bool {
        settings.forwardsUndecodable
    }
}

extension PacketProcessor where Self: ~Copyable, FlowState == NoFlowState {
    @inlinable public static var newFlow: NoFlowState { NoFlowState() }
}

/// For processors that remember nothing of a flow.
public struct NoFlowState: BitwiseCopyable, Sendable {
    @inlinable public init() {}
}

/// What a processor may know and do beside the packet.
public struct ProcessorContext: ~Copyable {
    /// Monotonic nanoseconds, read once per burst.
    public let now: UInt64
    public let worker: Int
    /// The flow's state is kept.
    public internal(set) var flowIsTracked = true
    @usableFromInline let counters: CounterBlock

    @inlinable
    init(now: UInt64, worker: Int, counters: CounterBlock) {
        self.now = now
        self.worker = worker
        self.counters = counters
    }

    /// Counts a hit of the rule with this index in `ruleNames`.
    @inlinable @inline(__always)
    public func hit(rule: Int) { counters.addRuleHit(rule) }
}
