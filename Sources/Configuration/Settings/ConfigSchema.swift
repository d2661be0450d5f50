import Support

/// JSON Schema of the config file, for editors: what a schema can say of it.
package enum ConfigSchema {
    /// - Parameters:
    ///   - policy: of the section `policy`.
    ///   - definitions: what `policy` refers to.
    package static func schema(
        policy: JSONValue, definitions: [String: JSONValue]
    ) -> JSONValue {
        guard case .object(var schema) = section("", policy: policy) else { return policy }
        schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
        schema["title"] = "Sluice configuration"
        schema["description"] =
            "The file of sluice run --config. sluice check validates all of it; this schema what a schema can say."
        schema["$defs"] = .object(definitions.merging(ConfigSchema.definitions) { $1 })
        return .object(schema)
    }

    /// What the settings' own schemas refer to.
    package static let definitions: [String: JSONValue] = [
        "ipv4": ["type": "string", "pattern": "^[0-9]{1,3}(\\.[0-9]{1,3}){3}$"],
        "ipv4Prefix": [
            "type": "string", "pattern": "^[0-9]{1,3}(\\.[0-9]{1,3}){3}(/[0-9]{1,2})?$",
        ],
        "listenAddress": [
            "type": "string", "pattern": "^[0-9]{1,3}(\\.[0-9]{1,3}){3}:[0-9]{1,5}$",
        ],
        "duration": [
            "description": "A time such as 30s, 500ms or 5m.",
            "type": ["string", "number"], "pattern": "^[0-9]+(\\.[0-9]+)?(ms|s|m|h)?$",
            "minimum": 0, "maximum": 86400,
        ],
    ]

    private static func section(_ name: String, policy: JSONValue) -> JSONValue {
        var properties: [String: JSONValue] = [:]
        for key in Settings.keys(in: name) {
            let path = name.isEmpty ? key : "\(name).\(key)"
            if path == "policy" {
                properties[key] = policy
            } else if let setting = Settings.of(key: path) {
                properties[key] = property(setting)
            } else {
                properties[key] = section(path, policy: policy)
            }
        }
        if name.isEmpty {
            properties["processor"] = [
                "description":
                    "Settings of a program's own processor, which checks them; sluice itself has none.",
                "type": ["object", "null"],
            ]
        }
        var schema: [String: JSONValue] = [
            "type": ["object", "null"], "additionalProperties": false,
            "properties": .object(properties),
        ]
        schema["description"] = Settings.sections.first { $0.key == name }.map { .string($0.value) }
        return .object(schema)
    }

    private static func property(_ setting: Setting) -> JSONValue {
        guard case .object(var schema) = setting.schema else { return setting.schema }
        schema["description"] = .string(setting.sentences)
        schema["default"] = scalar(setting.standard)
        return .object(schema)
    }

    /// A value of the file, by the type that it has there.
    private static func scalar(_ text: String) -> JSONValue {
        Bool(text).map { .bool($0) } ?? Int(text).map { .integer($0) } ?? .string(text)
    }
}
