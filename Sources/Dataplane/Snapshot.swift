/// One generation of the configuration. Immutable; made and kept by the control side, adopted by
/// workers through their `WorkerLink`.
public class Snapshot: @unchecked Sendable {
    public final let generation: UInt64
    public final let settings: PathSettings

    fileprivate init(generation: UInt64, settings: PathSettings) {
        self.generation = generation
        self.settings = settings
    }

    deinit { settings.allowedSources.free() }
}

/// A generation for workers with one kind of processor.
public final class ProcessorSnapshot<Configuration: Sendable>: Snapshot, @unchecked Sendable {
    public let configuration: Configuration

    /// - Parameter settings: the allowed sources are freed with the snapshot.
    public init(_ configuration: Configuration, settings: PathSettings, generation: UInt64) {
        self.configuration = configuration
        super.init(generation: generation, settings: settings)
    }
}
