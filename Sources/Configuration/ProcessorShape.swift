import Dataplane

/// What the control side must know of a processor, its type erased.
public struct ProcessorShape: Sendable {
    package let ruleNames: [String]
    @usableFromInline package let parts: [ProcessorPart]
    /// It decides by the section `policy`.
    public var hasRules: Bool { parts.contains(where: \.decidesByPolicy) }
    /// Reads and validates the configuration.
    package let read: @Sendable (any Decoder) throws -> any Sendable
    /// Shows the visitor the processor's type.
    package let accept: @Sendable (any ProcessorVisitor) throws -> Void
    /// A snapshot of what `read` gave.
    package let makeSnapshot: @Sendable (any Sendable, PathSettings, UInt64) -> Snapshot

    public init<Processor: PacketProcessor & ~Copyable>(_ processor: Processor.Type) {
        ruleNames = Processor.ruleNames
        parts = Processor.parts
        read = { decoder in
            let configuration = try Processor.configuration(from: decoder)
            try Processor.validate(configuration)
            return configuration
        }
        accept = { try $0.visit(Processor.self) }
        makeSnapshot = { configuration, settings, generation in
            // What `read` gave.
            ProcessorSnapshot(
                configuration as! Processor.Configuration, settings: settings,
                generation: generation)
        }
    }
}

/// Whoever needs the type of a processor that runs apart from the appliance.
package protocol ProcessorVisitor: AnyObject {
    func visit<Processor: PacketProcessor & ~Copyable>(_ processor: Processor.Type) throws
}
