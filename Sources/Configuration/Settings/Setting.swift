import Support

/// One setting, told once: its key in the file, its variable and flag, what values it takes and
/// where they go, and what people are told of it.
package struct Setting: Sendable {
    /// Where a setting may be given besides the file. Variable and flag have the same word in their
    /// names: "drain-minimum" is `SLUICE_DRAIN_MINIMUM` and `--drain-minimum`.
    enum Elsewhere {
        case nowhere
        case variable(String)
        /// - Parameter placeholder: what stands for the value in help; nil = the flag has none, it
        ///   means true.
        case flag(String, placeholder: String?)
    }

    /// Whether a running appliance takes over a new value.
    package enum Effect: String, Sendable {
        case live = "L"
        case restart = "R"
    }

    static let variablePrefix = "SLUICE_"

    /// Such as "drain.minimum"; nil if the file cannot say it.
    package let key: String?
    /// Of variable and flag, such as "drain-minimum"; nil if only the file can say it.
    package let word: String?
    package let hasFlag: Bool
    package let placeholder: String?
    package let effect: Effect
    /// One sentence.
    package let help: String
    /// More sentences, for pages.
    let details: String
    /// What holds if nobody gives it, where that is not the same as giving its default.
    let unsaid: String?
    /// What values may be, in words.
    package let values: String
    /// What values may be, as JSON Schema.
    let schema: JSONValue
    /// Reads a value; what is wrong with it is noted in the field's problems.
    let read: @Sendable (ConfigField, inout Configuration) -> Void
    /// The value as it could stand in a file.
    let text: @Sendable (Configuration) -> String

    /// - Parameters:
    ///   - key: nil for what the file cannot say.
    ///   - kind: reads the value, whatever it comes from.
    ///   - place: where the value goes.
    init<Value>(
        _ key: String?, _ elsewhere: Elsewhere, _ kind: SettingKind<Value>,
        at place: WritableKeyPath<Configuration, Value> & Sendable, _ effect: Effect,
        _ help: String, details: String = "", unsaid: String? = nil
    ) {
        self.key = key
        switch elsewhere {
        case .nowhere: (word, hasFlag, placeholder) = (nil, false, nil)
        case .variable(let name): (word, hasFlag, placeholder) = (name, false, nil)
        case .flag(let name, let value): (word, hasFlag, placeholder) = (name, true, value)
        }
        self.effect = effect
        self.help = help
        self.details = details
        self.unsaid = unsaid
        values = kind.values
        schema = kind.schema
        read = { field, configuration in
            if let value = kind.read(field) { configuration[keyPath: place] = value }
        }
        text = { kind.text($0[keyPath: place]) }
    }

    /// Names it in the table: its key, or its word where it has no key.
    package var name: String { key ?? word ?? "" }

    var variable: String? { word.map(Setting.variable(of:)) }
    var flag: String? { hasFlag ? word.map { "--\($0)" } : nil }

    /// The default, as it could stand in a file.
    package var standard: String { text(Configuration()) }

    static func variable(of word: String) -> String {
        variablePrefix + word.uppercased().replacing("-", with: "_")
    }
}
