import Support
import Yams

/// Turns flags and `SLUICE_*` environment variables into settings; flags win. Values are read by the
/// same readers as those of the file.
package struct OptionReader: Sendable {
    private let flags: [String: String]
    private let environment: [String: String]

    /// - Parameters:
    ///   - flags: by name without dashes, such as "drain-minimum".
    ///   - environment: the process's.
    package init(flags: [String: String], environment: [String: String]) {
        self.flags = flags
        self.environment = environment
    }

    /// Reads what flags and variables say of these settings.
    ///
    /// - Parameter configuration: what holds where neither flag nor variable says otherwise.
    /// - Throws: the first mistake: what was found and what was expected, with exit code 64 for a
    ///   flag, 78 for a variable.
    package func read(
        _ settings: [Setting] = Settings.all, into configuration: inout Configuration
    ) throws(Failure) {
        for setting in settings {
            guard let (text, place) = found(setting) else { continue }
            let problems = Problems(path: nil)
            setting.read(
                ConfigField(
                    word: text, name: place.name(of: setting), problems: problems), &configuration)
            if let line = problems.errors.lines.first { throw Failure(place.code, line) }
            configuration.places[setting.name] = place
        }
    }

    private func found(_ setting: Setting) -> (text: String, place: SettingPlace)? {
        if let text = flags[setting.word ?? ""] { return (text, .flag) }
        if let text = environment[setting.variable ?? ""] { return (text, .variable) }
        return nil
    }

    /// A variable of our prefix that means nothing is an error, like an unknown key.
    package func checkVariables() throws(Failure) {
        let words = Settings.all.compactMap(\.word)
        for name in environment.keys.sorted() where name.hasPrefix(Setting.variablePrefix) {
            let word = name.dropFirst(Setting.variablePrefix.count).lowercased()
                .replacing("_", with: "-")
            guard Setting.variable(of: word) != name || !words.contains(word) else { continue }
            let near = NearMiss.of(word, in: words)
            let hint =
                near.map { "did you mean \(Setting.variable(of: $0))?" }
                ?? "expected one of \(words.map(Setting.variable(of:)).joined(separator: ", "))"
            throw Failure(.config, "unknown variable '\(name)': \(hint)")
        }
    }
}
