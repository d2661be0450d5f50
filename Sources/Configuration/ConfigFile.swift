import Dataplane
import RuleEngine
import Support

/// The YAML file, read strictly: unknown keys, wrong types and impossible values are errors with
/// file, line, what was found and what was expected.
public enum ConfigFile {
    private static let limit = 16 << 20

    /// In place of a path: what comes on standard input.
    static let standardInput = "-"
    private static let inputName = "<stdin>"

    /// What a file says on its own. - Throws: every mistake, one line each.
    public static func read(_ path: String) throws(ConfigErrors) -> Configuration {
        try read(path, for: ProcessorShape(Rules.self))
    }

    /// - Parameter processor: whose configuration it is.
    package static func read(_ path: String, for processor: ProcessorShape) throws(ConfigErrors)
        -> Configuration
    {
        let configuration = try load(path, for: processor)
        let conflicts = Conflict.all(in: configuration)
        guard conflicts.isEmpty else { throw ConfigErrors(conflicts.map(\.text)) }
        return configuration
    }

    /// Each value on its own, as `parse`.
    static func load(_ path: String, for processor: ProcessorShape) throws(ConfigErrors)
        -> Configuration
    {
        let isInput = path == standardInput
        let name = isInput ? inputName : path
        let bytes =
            try isInput
            ? FileBytes.standardInput(limit: limit) : FileBytes.read(path, limit: limit)
        var configuration = try parse(text(bytes, name), path: name, for: processor)
        configuration.fileDigest = SHA256.hexadecimal(of: bytes)
        return configuration
    }

    private static func text(_ whole: [UInt8], _ path: String) throws(ConfigErrors) -> String {
        let bytes = FileBytes.withoutMark(whole)
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
        var reader = ConfigReader(
            path: path, folder: SetFolder(of: path), processor: processor)
        reader.read(
            ConfigField(node: root, name: "", problems: problems), into: &configuration)
        guard problems.isEmpty else { throw problems.errors }
        return configuration
    }
}
