import Dataplane
import RuleEngine

/// The YAML file, read strictly: unknown keys, wrong types and impossible values are errors with
/// file, line, what was found and what was expected.
public enum ConfigFile {
    private static let limit = 16 << 20

    /// What a file says on its own. - Throws: every mistake, one line each.
    public static func read(_ path: String) throws(ConfigErrors) -> Configuration {
        try read(path, for: ProcessorShape(Rules.self))
    }

    /// - Parameter processor: whose configuration it is.
    package static func read(_ path: String, for processor: ProcessorShape) throws(ConfigErrors)
        -> Configuration
    {
        let configuration = try parse(try text(of: path), path: path, for: processor)
        let conflicts = Conflict.all(in: configuration)
        guard conflicts.isEmpty else { throw ConfigErrors(conflicts.map(\.text)) }
        return configuration
    }

    static func text(of path: String) throws(ConfigErrors) -> String {
        let bytes = try FileBytes.readText(path, limit: limit)
        guard let text = String(validating: bytes, as: UTF8.self) else {
            let lines = bytes.split(separator: 10, omittingEmptySubsequences: false)
            let wrong = lines.firstIndex { String(validating: $0, as: UTF8.self) == nil } ?? 0
            throw ConfigErrors(["\(path):\(wrong + 1): not UTF-8 text"])
        }
        return text
    }

    /// Each value on its own: what contradicts another one may yet be overruled by a variable or a
    /// flag.
    static func parse(
        _ text: String, path: String, for processor: ProcessorShape = ProcessorShape(Rules.self)
    ) throws(ConfigErrors) -> Configuration {
        var configuration = Configuration()
        configuration.file = path
        configuration.processor = ProcessorSection(path: path)
        guard let root = try YAMLText.compose(text, path) else {
            // Most likely a file that somebody is writing: it would silently forward everything.
            throw ConfigErrors([
                "\(path): says nothing: to take over the defaults, say so (policy: {})"
            ])
        }
        let problems = Problems(path: path)
        let folder = path.lastIndex(of: "/").map { String(path[...$0]) } ?? ""
        var reader = ConfigReader(path: path, folder: folder, processor: processor)
        reader.read(
            ConfigField(node: root, name: "", problems: problems), into: &configuration)
        guard problems.isEmpty else { throw problems.errors }
        return configuration
    }
}
