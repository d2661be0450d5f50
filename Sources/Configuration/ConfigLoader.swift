import Dataplane
import RuleEngine
import Support

/// Where a configuration comes from, read again at every reload. Flags beat `SLUICE_*` variables,
/// which beat the file, which beats the defaults; rules come from the file alone.
public struct ConfigLoader: Sendable {
    /// Nil without a file.
    public let path: String?
    private let processor: ProcessorShape
    private let options: OptionReader

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
        options = OptionReader(flags: flags, environment: environment)
    }

    /// - Throws: `ConfigErrors` for the file, `Failure` for a flag or variable.
    public func load() throws -> Configuration {
        try options.checkVariables()
        var configuration = Configuration()
        if let path {
            configuration = try ConfigFile.load(path, for: processor)
        } else {
            _ = try configuration.processor.read(policy: nil, processor.read)
        }
        try options.read(into: &configuration)
        let conflicts = Conflict.all(in: configuration)
        guard let first = conflicts.first else { return configuration }
        if let code = first.code { throw Failure(code, first.text) }
        throw ConfigErrors(conflicts.map(\.text))
    }
}
