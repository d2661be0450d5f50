import Support

/// Pieces of a JSON Schema (draft 2020-12).
enum Schema {
    /// A definition of the file's `$defs`.
    static func reference(_ name: String, _ description: String? = nil) -> JSONValue {
        described(["$ref": .string("#/$defs/\(name)")], description)
    }

    static func described(_ schema: JSONValue, _ description: String?) -> JSONValue {
        guard let description, case .object(var keys) = schema else { return schema }
        keys["description"] = .string(description)
        return .object(keys)
    }

    static func either(_ schemas: [JSONValue]) -> JSONValue { ["oneOf": .array(schemas)] }

    static func oneOrList(_ item: JSONValue) -> JSONValue {
        either([item, ["type": "array", "items": item, "minItems": 1]])
    }

    static func integer(_ range: ClosedRange<Int>) -> JSONValue {
        [
            "type": "integer", "minimum": .integer(range.lowerBound),
            "maximum": .integer(range.upperBound),
        ]
    }

    /// A number, or a range as text, or a list of both.
    static func ranges(_ range: ClosedRange<Int>) -> JSONValue {
        let digits = "\(range.upperBound)".count
        return oneOrList(
            either([
                integer(range),
                [
                    "type": "string",
                    "pattern": .string("^[0-9]{1,\(digits)}(-[0-9]{1,\(digits)})?$"),
                ],
            ]))
    }

    static func choice(_ words: [String], default word: String? = nil) -> JSONValue {
        var keys: [String: JSONValue] = ["enum": .array(words.map { .string($0) })]
        if let word { keys["default"] = .string(word) }
        return .object(keys)
    }

    static func flag(_ value: Bool) -> JSONValue { ["type": "boolean", "default": .bool(value)] }

    static func text(_ lengths: ClosedRange<Int>) -> JSONValue {
        var keys: [String: JSONValue] = [
            "type": "string", "maxLength": .integer(lengths.upperBound),
        ]
        if lengths.lowerBound > 0 { keys["minLength"] = .integer(lengths.lowerBound) }
        return .object(keys)
    }

    /// - Parameters:
    ///   - least: how many of the keys must be there.
    ///   - mayBeNothing: nothing behind the key stands for no keys.
    static func object(
        _ properties: [String: JSONValue], required: [String] = [], least: Int = 0,
        mayBeNothing: Bool = false, _ description: String? = nil
    ) -> JSONValue {
        var keys: [String: JSONValue] = [
            "type": mayBeNothing ? ["object", "null"] : "object", "additionalProperties": false,
            "properties": .object(properties),
        ]
        if !required.isEmpty { keys["required"] = .array(required.map { .string($0) }) }
        if least > 0 { keys["minProperties"] = .integer(least) }
        return described(.object(keys), description)
    }
}
