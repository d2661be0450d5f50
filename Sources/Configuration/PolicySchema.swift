import Support

/// The section `policy` in the JSON Schema of the config file.
enum PolicySchema {
    /// What stands behind `policy`.
    static var definition: JSONValue {
        Schema.described(
            policy(PolicyKey.allCases), "What happens to packets: rules, and what holds without.")
    }

    /// Its part of `$defs`.
    static var definitions: [String: JSONValue] {
        [
            "addresses": Schema.oneOrList([
                "description": "An address, a prefix, or @file with one a line.",
                "type": "string",
                "pattern": .string(
                    "^(@.+|[0-9]{1,3}(\\.[0-9]{1,3}){3}(/[0-9]{1,2})?"
                        + "|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(/[0-9]{1,3})?)$"),
            ]),
            "ports": Schema.ranges(0...65_535),
            "lengths": Schema.ranges(20...65_535),
            "byte": Schema.integer(0...255),
            "endpointId": ["type": "string", "pattern": "^vpce-[0-9a-fA-F]{1,17}$"],
            "flags": Schema.oneOrList(Schema.choice(TCPFlagsKey.names)),
            "bytes": Schema.described(
                Schema.text(1...1024), "A text with the escapes \\xHH, \\n, \\r, \\t, \\0 and \\\\."
            ),
            "match": match, "action": Schema.oneOrList(action), "rule": rule,
            "endpointPolicy": policy(PolicyKey.allCases.filter { $0 != .endpoints }),
        ]
    }

    private static func policy(_ keys: [PolicyKey]) -> JSONValue {
        Schema.object(
            Dictionary(uniqueKeysWithValues: keys.map { ($0.rawValue, $0.schema) }),
            mayBeNothing: true)
    }

    private static var match: JSONValue {
        let keys = MatchKeys.all.map { ($0.key.rawValue, Schema.described($0.schema, $0.help)) }
        return Schema.object(
            Dictionary(uniqueKeysWithValues: keys),
            "All conditions must hold; of a list, one item must.")
    }

    private static var action: JSONValue {
        let text = Schema.object(
            [
                "find": Schema.reference("bytes", "What is looked for in the payload."),
                "with": Schema.described(Schema.text(0...1024), "What stands there instead."),
            ], required: ["find", "with"])
        let replace = Schema.object(
            [
                ActionWord.replace.rawValue: Schema.described(
                    ["type": "array", "minItems": 1, "items": text], ActionWord.replace.help)
            ], required: [ActionWord.replace.rawValue])
        return Schema.either([Schema.choice(ActionWord.plain.map(\.rawValue)), replace])
    }

    private static var rule: JSONValue {
        Schema.object(
            Dictionary(
                uniqueKeysWithValues: RuleKey.allCases.map { key in
                    let value: JSONValue =
                        switch key {
                        case .name: Schema.text(1...128)
                        case .description: Schema.text(1...1024)
                        case .match: Schema.reference("match")
                        case .action: Schema.reference("action")
                        case .dryRun: Schema.flag(false)
                        }
                    return (key.rawValue, Schema.described(value, key.help))
                }), required: [RuleKey.name.rawValue, RuleKey.action.rawValue])
    }
}
