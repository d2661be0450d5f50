/// Reads a file: settings by their table, and the sections that have readers of their own.
struct ConfigReader {
    let path: String
    /// Where `@file` names are looked up: beside the config file.
    let folder: SetFolder
    /// Whose configuration it is.
    let processor: ProcessorShape

    mutating func read(_ root: ConfigField, into configuration: inout Configuration) {
        guard let fields = root.section(Settings.keys(in: "") + ["processor"]) else { return }
        for key in Settings.keys(in: "") where key != "policy" {
            if let field = fields[key] { readSettings(field, into: &configuration) }
        }
        if let field = fields["policy"] {
            if processor.hasRules {
                readPolicy(field, &configuration)
            } else {
                field.fail("this program decides without rules")
            }
        }
        if let field = fields["processor"] {
            configuration.processor = ProcessorSection(field.node, path: path)
        }
        configuration.sets = folder.files
        _ = configuration.processor.read(policy: nil, root.problems, processor.read)
    }

    /// One setting, or a section of them.
    private func readSettings(_ field: ConfigField, into configuration: inout Configuration) {
        if let setting = Settings.of(key: field.name) {
            setting.read(field, &configuration)
            configuration.places[setting.name] = .file(path, line: field.line)
            return
        }
        let keys = Settings.keys(in: field.name)
        guard let fields = field.section(keys) else { return }
        for key in keys {
            if let field = fields[key] { readSettings(field, into: &configuration) }
        }
    }
}
