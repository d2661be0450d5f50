import Support

/// Where somebody gave a setting.
enum SettingPlace: Equatable, Sendable {
    case file(String, line: Int)
    case variable
    case flag

    /// Of a mistake there.
    var code: Failure.Code { self == .flag ? .usage : .config }

    /// The setting as it is called there.
    func name(of setting: Setting) -> String {
        switch self {
        case .file: setting.name
        case .variable: setting.variable ?? setting.name
        case .flag: "--\(setting.word ?? setting.name)"
        }
    }
}
