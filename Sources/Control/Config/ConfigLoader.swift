import Dataplane
import Support

/// Where a configuration comes from, read again at every reload. Flags beat `SLUICE_*` variables,
/// which beat the file, which beats the defaults; rules come from the file alone.
public struct ConfigLoader: Sendable {
    /// Nil without a file.
    public let path: String?
    private let processor: ProcessorShape
    private let flags: [String: String]
    private let environment: [String: String]

    public init(path: String?, flags: [String: String], environment: [String: String]) {
        self.init(
            path: path, flags: flags, environment: environment,
            processor: ProcessorShape(Rules.self))
    }

    /// - Parameter processor: whose configuration it is.
    public init(
        path: String?, flags: [String: String], environment: [String: String],
        processor: ProcessorShape
    ) {
        self.path = path
        self.processor = processor
        self.flags = flags
        self.environment = environment
    }

    /// - Throws: `ConfigErrors` for the file, `Failure` for a flag or variable.
    public func load() throws -> Configuration {
        var configuration = Configuration()
        if let path {
            configuration = try ConfigFile.read(path, for: processor)
        } else {
            _ = try configuration.processor.read(policy: nil, processor.read)
        }
        let reader = OptionReader(flags: flags, environment: environment)
        configuration.run = try reader.read(over: configuration.run)
        if let onError = try reader.readOnError() {
            for endpoint in configuration.policy.endpoints.keys {
                configuration.policy.endpoints[endpoint]?.forwardsUndecodable = onError
            }
        }
        if let path { try configuration.checkSteering(path) }
        let log = try reader.readLog()
        configuration.logLevel = log.level ?? configuration.logLevel
        configuration.logFormat = log.format ?? configuration.logFormat
        return configuration
    }
}
