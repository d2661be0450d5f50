import Wire

/// The logic of an appliance: decides each packet, and may change it.
///
/// One instance per worker, made and used on the worker's thread. The whole loop is specialised
/// for the conforming type: nothing here costs a dynamic call.
///
/// Only `init(configuration:worker:)` and `process(_:flow:context:)` must be written; everything
/// else has a default for processors that do without it.
public protocol PacketProcessor: ~Copyable, SendableMetatype {
    /// What the processor remembers of a flow, both directions in one value.
    associatedtype FlowState: BitwiseCopyable = NoFlowState

    /// What the processor tells the control side, see `handle(_:log:)`.
    associatedtype Event: BitwiseCopyable = NoEvent

    /// What the processor counts: an enumeration without associated values. The case `dnsQueries`
    /// is the metric `sluice_processor_dns_queries_total`.
    associatedtype Counter: CaseIterable = NoCounter

    /// The section `processor` of the config file.
    associatedtype Configuration: Decodable & Sendable = NoConfiguration

    /// What the processor may know and do beside the packet.
    typealias Context = ProcessorContext<Self>

    // ---- On the worker's thread.

    /// Called once per worker, before traffic.
    init(configuration: Configuration, worker: Int) throws

    /// Called at the start of every burst, also of one without packets.
    mutating func startBurst()

    /// Called at the start of the first burst after a reload. The configuration is valid.
    mutating func adopt(_ configuration: Configuration)

    /// An inner packet that cannot be decoded passes instead of being dropped: `process` never sees
    /// it. - Parameter options: as far as the Geneve header had them.
    func forwardsUndecodable(_ options: AWSOptions, _ settings: PathSettings) -> Bool

    /// Decides one packet. Without an entry in the flow table `flow` is a fresh value that is
    /// thrown away, and `context.flowIsTracked` is false.
    mutating func process(
        _ packet: inout Packet, flow: inout FlowState, context: inout Context
    ) -> Verdict

    /// The state of a flow seen for the first time.
    static var newFlow: FlowState { get }

    /// Whether a packet of the flow was forwarded from the low end of its key, or from the high one:
    /// then `Packet.quotesLiveFlow` is true of an ICMP error that quotes one. The default is true.
    static func isLive(_ flow: FlowState, fromLow: Bool) -> Bool

    /// Rules whose hits are counted by `context.hit(rule:)`, in the order of their index.
    static var ruleNames: [String] { get }

    // ---- On the control thread.

    /// What holds for keys that the file leaves out. Nil: they are missing, or decode as optional.
    static var defaultConfiguration: Configuration? { get }

    /// Refuses a configuration that cannot be used: the program does not start with it, a reload
    /// changes nothing. What is thrown is told to the operator with file and line, best as a
    /// `ConfigurationError`.
    static func validate(_ configuration: Configuration) throws

    /// Takes what `context.emit(_:)` put into the ring, in the order of one worker's events. The
    /// default writes it to the log.
    static func handle(_ event: Event, log: EventLog)

    /// It decides by the section `policy` of the file, as `Rules` do.
    static var decidesByPolicy: Bool { get }

    // ---- For processors made of processors.

    /// Reads the configuration; the default decodes the section `processor`.
    static func configuration(from decoder: any Decoder) throws -> Configuration

    /// Those whose counters and events it has: itself, or what it is made of.
    static var parts: [ProcessorPart] { get }
}

extension PacketProcessor where Self: ~Copyable {
    public static var ruleNames: [String] { [] }
    public static var defaultConfiguration: Configuration? { nil }
    public static func validate(_ configuration: Configuration) throws {}
    public static func handle(_ event: Event, log: EventLog) { log.info("\(event)") }
    public static var decidesByPolicy: Bool { false }
    public static var parts: [ProcessorPart] { [ProcessorPart(Self.self)] }

    @inlinable
    public static func isLive(_ flow: FlowState, fromLow: Bool) -> Bool { true }

    public static func configuration(from decoder: any Decoder) throws -> Configuration {
        guard let defaults = defaultConfiguration, let source = decoder as? any DefaultingDecoder
        else { return try Configuration(from: decoder) }
        return try Configuration(from: source.fallingBack(to: defaults))
    }

    @inlinable @inline(__always)
    public mutating func startBurst() {}

    @inlinable @inline(__always)
    public mutating func adopt(_ configuration: Configuration) {}

    @inlinable
    public func forwardsUndecodable(_ options: AWSOptions, _ settings: PathSettings) -> Bool {
        settings.forwardsUndecodable
    }
}

extension PacketProcessor where Self: ~Copyable, FlowState == NoFlowState {
    @inlinable public static var newFlow: NoFlowState { NoFlowState() }
}

extension PacketProcessor where Self: ~Copyable, FlowState: FixedWidthInteger {
    @inlinable public static var newFlow: FlowState { 0 }
}

extension PacketProcessor where Self: ~Copyable, Configuration == NoConfiguration {
    /// Without anything to configure.
    @inlinable
    public init(worker: Int) throws {
        try self.init(configuration: NoConfiguration(), worker: worker)
    }
}

/// For processors that remember nothing of a flow.
public struct NoFlowState: BitwiseCopyable, Sendable {
    @inlinable public init() {}
}

/// For processors that emit nothing.
public enum NoEvent: BitwiseCopyable, Sendable {}

/// For processors that count nothing of their own.
public enum NoCounter: CaseIterable, BitwiseCopyable, Sendable {}

/// For processors that cannot be configured: any key in the section `processor` is refused.
public struct NoConfiguration: Decodable, Sendable {
    private enum Keys: CodingKey {}

    @inlinable public init() {}

    public init(from decoder: any Decoder) throws {
        _ = try decoder.container(keyedBy: Keys.self)
    }
}

/// A decoder that knows what to take for keys that are not there.
public protocol DefaultingDecoder: Decoder {
    /// The same section, with the properties of `defaults` for what it leaves out.
    func fallingBack(to defaults: Any) -> any Decoder
}

/// Why a configuration cannot be used, in words for the operator.
public struct ConfigurationError: Error, CustomStringConvertible, Sendable {
    /// The key that is wrong, as in the file; the message then names its line. Nil: all of it.
    public let key: String?
    public let description: String

    public init(_ description: String, key: String? = nil) {
        self.key = key
        self.description = description
    }
}

/// What a processor may know and do beside the packet.
public struct ProcessorContext<Processor: PacketProcessor & ~Copyable>: ~Copyable {
    /// Monotonic nanoseconds, read once per burst.
    public let now: UInt64
    /// Index of the worker, from 0 on.
    public let worker: Int
    /// The flow's state is kept for its next packet.
    public let flowIsTracked: Bool
    @usableFromInline let counters: CounterBlock
    @usableFromInline let link: WorkerLink
    /// The processor's place among the parts of the worker's processor.
    @usableFromInline let part: Int
    @usableFromInline let firstRule: Int

    @inlinable @inline(__always)
    init(
        now: UInt64, worker: Int, flowIsTracked: Bool = true, counters: CounterBlock,
        link: WorkerLink, part: Int = 0, firstRule: Int = 0
    ) {
        self.now = now
        self.worker = worker
        self.flowIsTracked = flowIsTracked
        self.counters = counters
        self.link = link
        self.part = part
        self.firstRule = firstRule
    }

    /// Counts in the metric of a case of `Counter`.
    @inlinable @inline(__always)
    public func count(_ counter: Processor.Counter, _ amount: UInt64 = 1) {
        counters.add(part: part, slot: ProcessorPart.slot(of: counter), amount)
    }

    /// Counts a hit of the rule with this index in `ruleNames`.
    @inlinable @inline(__always)
    public func hit(rule: Int) { counters.addRuleHit(firstRule &+ rule) }

    /// Hands an event to the control side. Never waits: when the worker's ring is full, the event
    /// is lost and counted in `sluice_events_lost_total`.
    @inlinable @inline(__always)
    public func emit(_ event: Processor.Event) {
        if link.put(event, part: part) {
            counters.add(part: part, slot: CounterBlock.emittedSlot)
        } else {
            loseEvent()
        }
    }

    /// Counts an event that was not worth emitting, or found no room.
    @inlinable @inline(__always)
    package func loseEvent() { counters.add(part: part, slot: CounterBlock.lostSlot) }

    /// The context of a part of this processor.
    @inlinable @inline(__always)
    func of<Part: PacketProcessor & ~Copyable>(
        _ type: Part.Type, part offset: Int, firstRule rules: Int
    ) -> ProcessorContext<Part> {
        ProcessorContext<Part>(
            now: now, worker: worker, flowIsTracked: flowIsTracked, counters: counters, link: link,
            part: part &+ offset, firstRule: firstRule &+ rules)
    }
}
