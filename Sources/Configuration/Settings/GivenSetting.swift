import Support

/// A setting with the place where it was given, for sentences.
struct GivenSetting {
    let setting: Setting
    /// Nil = nobody gave it, its default holds.
    let place: SettingPlace?

    /// As it was given: `sluice.yaml:3: listen.io`, `SLUICE_IO` or `--io`. Of a default, what can
    /// change it: the flag, else the variable, else the key.
    var name: String {
        switch place {
        case .file(let path, let line): "\(path):\(line): \(setting.name)"
        case .variable, .flag: place?.name(of: setting) ?? setting.name
        case nil: setting.flag ?? setting.variable ?? setting.name
        }
    }

    /// Begins a line about the setting.
    var start: String {
        guard let place, line.isEmpty else { return line.isEmpty ? "\(setting.name): " : line }
        return "\(place.name(of: setting)): "
    }

    /// Begins a line about what stands in a file; empty for others, which need no place.
    var line: String {
        guard case .file = place else { return "" }
        return "\(name): "
    }

    /// As it was written, such as `--steer cpu`.
    func saying(_ value: String) -> String {
        switch place {
        case .flag: "--\(setting.word ?? "") \(value)"
        case .variable: "\(setting.variable ?? "")=\(value)"
        case .file, nil: "\(line)\(setting.name.split(separator: ".").last ?? ""): \(value)"
        }
    }

    /// Its name in a line that begins with the place of another one.
    func seen(from other: GivenSetting) -> String {
        guard let place else { return setting.name }
        guard case .file = place, other.line.isEmpty else { return place.name(of: setting) }
        return name
    }
}

extension Configuration {
    /// - Precondition: the table has a setting of this name.
    func given(_ name: String) -> GivenSetting {
        let setting = Settings[name]
        return GivenSetting(setting: setting, place: places[setting.name])
    }

    /// A setting as it was given, for an error that asks to change it; of a default, the flag,
    /// variable or key that can.
    package func name(of setting: String) -> String { given(setting).name }

    /// Why a start fails because of a setting that may be right on another host. It names the
    /// setting as it was given, unless that is nobody's mistake but its default.
    package func failure(blaming setting: String, _ text: String) -> Failure {
        let given = given(setting)
        guard let place = given.place else { return Failure(.config, text) }
        return Failure(place.code, "\(given.name): \(text)")
    }
}
