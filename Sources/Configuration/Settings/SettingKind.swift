import Dataplane
import Support
import Wire

/// A kind of value: how it is read, whatever it comes from, how it is written, and what people and
/// editors are told that it may be.
struct SettingKind<Value>: Sendable {
    /// Nil after noting what is wrong.
    let read: @Sendable (ConfigField) -> Value?
    /// As it could stand in a file.
    let text: @Sendable (Value) -> String
    /// What it may be, in words.
    let values: String
    /// What it may be, as JSON Schema.
    let schema: JSONValue
}

private func schemaOr(_ word: JSONValue, _ schema: JSONValue) -> JSONValue {
    ["oneOf": [["const": word], schema]]
}

private func schemaOfList(_ item: JSONValue, orText text: JSONValue? = nil) -> JSONValue {
    ["oneOf": [text ?? item, ["type": "array", "items": item, "minItems": 1]]]
}

// ---- Words and numbers.

extension SettingKind where Value: Equatable & Sendable {
    static func choice(_ words: KeyValuePairs<String, Value>) -> SettingKind<Value> {
        choice(among: words.map { ($0.key, $0.value) })
    }

    static func choice(among words: [(key: String, value: Value)]) -> SettingKind<Value> {
        SettingKind(
            read: { $0.choice(among: words) },
            text: { value in words.first { $0.value == value }?.key ?? "" },
            values: ConfigField.oneOf(words.map(\.key)),
            schema: ["enum": .array(words.map { .string($0.key) })])
    }
}

extension SettingKind<Bool> {
    static var flag: SettingKind<Bool> {
        SettingKind(
            read: { $0.flag() }, text: { "\($0)" }, values: "true or false",
            schema: ["type": "boolean"])
    }
}

extension SettingKind<Int> {
    static func number(_ range: ClosedRange<Int>) -> SettingKind<Int> {
        SettingKind(
            read: { $0.integer(range) }, text: { "\($0)" },
            values: "a number from \(range.lowerBound) to \(range.upperBound)",
            schema: numberSchema(range))
    }

    static func powerOfTwo(_ range: ClosedRange<Int>) -> SettingKind<Int> {
        let values = "a power of two from \(range.lowerBound) to \(range.upperBound)"
        return SettingKind(
            read: { field in
                guard let value = field.integer(range, "a power of two") else { return nil }
                return value & (value - 1) == 0 ? value : field.expected(values)
            },
            text: { "\($0)" }, values: values, schema: numberSchema(range))
    }

    fileprivate static func numberSchema(_ range: ClosedRange<Int>) -> JSONValue {
        [
            "type": "integer", "minimum": .integer(range.lowerBound),
            "maximum": .integer(range.upperBound),
        ]
    }
}

extension SettingKind<Int?> {
    static func numberOrAuto(_ range: ClosedRange<Int>) -> SettingKind<Int?> {
        SettingKind(
            read: { field -> Int?? in
                if field.says("auto") { return .some(nil) }
                return field.integer(range, "auto or a number").map { .some($0) }
            },
            text: { $0.map { "\($0)" } ?? "auto" },
            values: "auto or a number from \(range.lowerBound) to \(range.upperBound)",
            schema: schemaOr("auto", SettingKind<Int>.numberSchema(range)))
    }
}

extension SettingKind<Duration> {
    static func duration(atLeast shortest: Duration = .zero) -> SettingKind<Duration> {
        SettingKind(
            read: { $0.duration(atLeast: shortest) },
            // In seconds, of which people compare one with the other.
            text: { time in
                let (seconds, rest) = time.nanoseconds.quotientAndRemainder(
                    dividingBy: 1_000_000_000)
                return rest == 0 ? "\(seconds)s" : time.words
            },
            values: ConfigField.durations(atLeast: shortest),
            schema: ["$ref": "#/$defs/duration"])
    }
}

extension SettingKind<String?> {
    /// Only flags and variables have it.
    static func path(_ what: String) -> SettingKind<String?> {
        SettingKind(
            read: { field in
                field.says("") ? field.expected(what) : field.text(what).map { .some($0) }
            },
            text: { $0 ?? "none" }, values: what, schema: ["type": "string", "minLength": 1])
    }
}

// ---- Where packets come from and who works on them.

extension SettingKind<[String]> {
    static var interfaces: SettingKind<[String]> {
        let name: JSONValue = ["type": "string", "minLength": 1]
        return SettingKind(
            read: readInterfaces, text: { $0.isEmpty ? "auto" : $0.joined(separator: ",") },
            values: "auto, the name of an interface, or several with commas",
            schema: schemaOfList(name))
    }

    @Sendable private static func readInterfaces(_ field: ConfigField) -> [String]? {
        if field.says("auto") { return [] }
        let names = field.all("an interface name", atCommas: true) {
            $0.text("an interface name or auto")
        }
        guard let names else { return nil }
        // IFNAMSIZ, and what the kernel forbids (dev_valid_name).
        for name in names
        where !(1...15).contains(name.utf8.count)
            || name.contains(where: { $0.isWhitespace || $0 == "/" || $0 == ":" })
        {
            field.fail("no interface can have the name '\(name)'")
        }
        if names.contains("auto") { field.fail("name interfaces or say auto, not both") }
        return names
    }
}

extension SettingKind<[Int]> {
    static var cpus: SettingKind<[Int]> {
        let values = "auto or a list such as 1-3,7"
        let number: JSONValue = ["type": "integer", "minimum": 0]
        let list: JSONValue = [
            "type": "string", "pattern": "^[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*$",
        ]
        return SettingKind(
            read: { field in
                if field.says("auto") { return [] }
                // One CPU is written as a number; of a list each item is one, or a range.
                let texts = field.items.map { $0.node.scalar?.string ?? "" }
                return CPUList.parse(texts.joined(separator: ","))
                    ?? field.fail(
                        "expected \(values), found \(field.found)"
                            + field.items.map(\.reversal).joined())
            },
            text: { $0.isEmpty ? "auto" : $0.map(String.init).joined(separator: ",") },
            values: values,
            schema: [
                "oneOf": [
                    ["const": "auto"], number, list,
                    ["type": "array", "items": ["oneOf": [number, list]], "minItems": 1],
                ]
            ])
    }
}

// ---- Addresses.

extension SettingKind<UInt32> {
    /// Host order; 0 = any.
    static var address: SettingKind<UInt32> {
        let values = "an IPv4 address or any"
        return SettingKind(
            read: { field in
                if field.says("any") { return 0 }
                return field.node.scalar.flatMap { IPv4Address.parse($0.string) }
                    ?? field.expected(values)
            },
            text: { $0 == 0 ? "any" : IPv4Address.format($0) }, values: values,
            schema: schemaOr("any", ["$ref": "#/$defs/ipv4"]))
    }
}

extension SettingKind<[(address: UInt32, length: Int)]> {
    /// Empty = all.
    static var prefixes: SettingKind<[(address: UInt32, length: Int)]> {
        let prefix = "[0-9]{1,3}(\\.[0-9]{1,3}){3}(/[0-9]{1,2})?"
        return SettingKind(
            read: { field in field.all(expectedPrefix, atCommas: true, readPrefix) },
            text: { prefixes in
                prefixes.isEmpty
                    ? "0.0.0.0/0"
                    : prefixes.map { "\(IPv4Address.format($0.address))/\($0.length)" }
                        .joined(separator: ",")
            },
            values: "\(expectedPrefix), or several with commas",
            schema: schemaOfList(
                ["$ref": "#/$defs/ipv4Prefix"],
                orText: ["type": "string", "pattern": .string("^\(prefix)(,\(prefix))*$")]))
    }

    private static var expectedPrefix: String { "an IPv4 prefix such as 10.0.0.0/8" }

    private static func readPrefix(_ field: ConfigField) -> (address: UInt32, length: Int)? {
        guard let text = field.text(expectedPrefix) else { return nil }
        switch AddressText.prefix(Array(text.utf8)) {
        case .success(let prefix) where !prefix.isIPv6:
            return (UInt32(prefix.address), prefix.length)
        case .success: return field.expected(expectedPrefix)
        case .failure(let reason): return field.fail(reason.text(expectedPrefix, text))
        }
    }
}

extension SettingKind<ListenAddress> {
    fileprivate static var expected: String { "an IPv4 address and port such as 0.0.0.0:8080" }

    static var port: SettingKind<ListenAddress> {
        SettingKind(
            read: { field in
                field.node.scalar.flatMap { ListenAddress($0.string) } ?? field.expected(expected)
            },
            text: { "\($0)" }, values: expected, schema: ["$ref": "#/$defs/listenAddress"])
    }
}

extension SettingKind<ListenAddress?> {
    static var portOrNone: SettingKind<ListenAddress?> {
        let values = "\(SettingKind<ListenAddress>.expected), or none"
        return SettingKind(
            read: { field -> ListenAddress?? in
                if field.says("none") { return .some(nil) }
                guard let text = field.node.scalar?.string, let address = ListenAddress(text) else {
                    return field.expected(values)
                }
                return address
            },
            text: { $0.map { "\($0)" } ?? "none" }, values: values,
            schema: schemaOr("none", ["$ref": "#/$defs/listenAddress"]))
    }
}
