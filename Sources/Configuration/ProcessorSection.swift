import Dataplane
import RuleEngine
import Yams

/// The section `processor` of the config file, decoded as often as it is needed: for a first look,
/// and for every generation.
package struct ProcessorSection: @unchecked Sendable {
    // Unchecked: a node is not changed once it is parsed, and only one thread at a time reads.
    private let node: Node?
    private let path: String

    /// A file, or flags alone, without the section.
    init(path: String = "") {
        node = nil
        self.path = path
    }

    init(_ node: Node, path: String) {
        self.node = node
        self.path = path
    }

    /// Decodes the section by `body`.
    ///
    /// - Parameter policy: what the rule engine is to decide by.
    /// - Throws: every mistake.
    package func read<Value>(
        policy: PolicySnapshot?, _ body: (any Decoder) throws -> Value
    ) throws(ConfigErrors) -> Value {
        let problems = Problems(path: path)
        guard let value = read(policy: policy, problems, body) else { throw problems.errors }
        return value
    }

    /// As the other `read`; mistakes are noted, and nil is returned.
    func read<Value>(
        policy: PolicySnapshot?, _ problems: Problems, _ body: (any Decoder) throws -> Value
    ) -> Value? {
        let field = ConfigField(
            node: node ?? Node.mapping([:]), name: "processor", problems: problems)
        let asked = AskedKeys()
        let decoder = FieldDecoder(
            field: field, keys: [], userInfo: policy.map { [.policy: $0] } ?? [:], asked: asked,
            defaults: nil)
        do {
            let value = try body(decoder)
            asked.noteOthers(in: field)
            return problems.isEmpty ? value : nil
        } catch {
            note(error, asked, field)
            return nil
        }
    }

    private func note(_ error: any Error, _ asked: AskedKeys, _ field: ConfigField) {
        switch error {
        case DecodingError.keyNotFound(let key, let context):
            let place = field.descendant(context.codingPath)
            guard let (found, line) = place.nearKey(to: key.stringValue) else {
                return place.fail("needs the key \(FieldDecoder.written(key))")
            }
            place.problems.note(
                line: line,
                "\(place.name): unknown key '\(found)': did you mean \(FieldDecoder.written(key))?")
        case DecodingError.typeMismatch(let type, let context),
            DecodingError.valueNotFound(let type, let context):
            field.descendant(context.codingPath).expected(FieldDecoder.words(for: type))
        case DecodingError.dataCorrupted(let context):
            field.descendant(context.codingPath).fail(context.debugDescription)
        case let error as ConfigurationError:
            let place = error.key.flatMap { field.descendant(written: $0) } ?? field
            place.fail(error.description)
        default:
            field.fail("\(error)")
        }
    }
}

extension ConfigField {
    /// The value that a path of keys and indices leads to, as far as it leads.
    fileprivate func descendant(_ path: [any CodingKey]) -> ConfigField {
        var field = self
        for key in path {
            let next =
                key.intValue.flatMap { index in
                    field.items.indices.contains(index) && field.node.sequence != nil
                        ? field.items[index] : nil
                } ?? field.child(key.stringValue)
            guard let next else { return field }
            field = next
        }
        return field
    }

    /// "limits.rate", as a person writes it.
    fileprivate func descendant(written path: String) -> ConfigField? {
        var field = self
        for key in path.split(separator: ".") {
            guard let next = field.child(String(key)) else { return nil }
            field = next
        }
        return field
    }

    /// A key of the file that most likely stands for the one that is missing.
    fileprivate func nearKey(to key: String) -> (String, Int)? {
        let wanted = [FieldDecoder.kebab(key), key]
        for (node, _) in node.mapping ?? [:] {
            guard let word = node.string, NearMiss.of(word, in: wanted) != nil else { continue }
            return (word, node.mark?.line ?? line)
        }
        return nil
    }

    /// The value of a key, written as in Swift or with dashes.
    fileprivate func child(_ key: String) -> ConfigField? {
        for spelling in [key, FieldDecoder.kebab(key)] {
            for (node, value) in node.mapping ?? [:] where node.string == spelling {
                return ConfigField(node: value, name: "\(name).\(spelling)", problems: problems)
            }
        }
        return nil
    }

    fileprivate var isMapping: Bool { isNull || node.mapping != nil }
}

/// Which keys decoders asked for, by mapping: what nobody asked for is a mistake of the file.
private final class AskedKeys {
    private var asked: [String: [String]] = [:]
    /// Mappings whose keys are data.
    private var open: Set<String> = []

    func ask(_ field: ConfigField) { asked[field.name, default: []] += [] }
    func ask(_ key: String, of field: ConfigField) {
        guard asked[field.name]?.contains(key) != true else { return }
        asked[field.name, default: []].append(key)
    }
    func askAll(of field: ConfigField) { open.insert(field.name) }

    func noteOthers(in field: ConfigField) {
        for item in field.node.sequence == nil ? [] : field.items { noteOthers(in: item) }
        guard let mapping = field.node.mapping, !mapping.isEmpty else { return }
        guard !asked.isEmpty else {
            return field.fail("this program has no processor of its own to configure")
        }
        if !open.contains(field.name), let known = asked[field.name] {
            let words = known.map(FieldDecoder.kebab)
            _ = field.section(words + known.filter { !words.contains($0) })
        }
        for (key, value) in mapping {
            guard let word = key.string else { continue }
            noteOthers(
                in: ConfigField(
                    node: value, name: "\(field.name).\(word)", problems: field.problems))
        }
    }
}

/// Decodes a value of the file. Keys are written with dashes: `maximumSize` is `maximum-size`.
private struct FieldDecoder: DefaultingDecoder {
    let field: ConfigField
    let keys: [any CodingKey]
    let userInfo: [CodingUserInfoKey: Any]
    let asked: AskedKeys
    /// A value whose properties hold for keys that are not there.
    let defaults: Any?

    var codingPath: [any CodingKey] { keys }

    func fallingBack(to defaults: Any) -> any Decoder {
        FieldDecoder(
            field: field, keys: keys, userInfo: userInfo, asked: asked, defaults: defaults)
    }

    func inner(_ field: ConfigField, _ key: any CodingKey, _ defaults: Any? = nil) -> FieldDecoder {
        FieldDecoder(
            field: field, keys: keys + [key], userInfo: userInfo, asked: asked, defaults: defaults)
    }

    func container<Key: CodingKey>(
        keyedBy type: Key.Type
    ) throws -> KeyedDecodingContainer<Key> {
        guard field.isMapping else { throw mismatch([String: Any].self) }
        asked.ask(field)
        return KeyedDecodingContainer(KeyedFields(decoder: self))
    }

    func unkeyedContainer() throws -> any UnkeyedDecodingContainer {
        guard field.node.sequence != nil else { throw mismatch([Any].self) }
        return ListedFields(decoder: self, items: field.items)
    }

    func singleValueContainer() throws -> any SingleValueDecodingContainer { OneField(self) }

    /// One value of any type.
    func decode<T: Decodable>(_ type: T.Type) throws -> T {
        switch type {
        case is String.Type:
            guard let scalar = field.node.scalar, !field.isNull else { throw mismatch(type) }
            return scalar.string as! T
        case is Bool.Type:
            guard let value = field.plain.flatMap({ Bool($0) }) else { throw mismatch(type) }
            return value as! T
        case let number as any LosslessNumber.Type:
            guard let value = field.plain.flatMap({ number.init($0) }) else { throw mismatch(type) }
            return value as! T
        default:
            return try T(from: self)
        }
    }

    func mismatch(_ type: Any.Type) -> DecodingError {
        .typeMismatch(type, DecodingError.Context(codingPath: keys, debugDescription: ""))
    }

    // ---- Words.

    /// `maximumSize` → `maximum-size`.
    static func kebab(_ key: String) -> String {
        var text = ""
        for character in key {
            if character.isUppercase, !text.isEmpty, text.last != "-" { text += "-" }
            text += character.lowercased()
        }
        return text
    }

    static func written(_ key: any CodingKey) -> String { kebab(key.stringValue) }

    /// What a person would write for a type.
    static func words(for type: Any.Type) -> String {
        switch type {
        case is String.Type: "text"
        case is Bool.Type: "true or false"
        case let number as any LosslessNumber.Type: number.words
        case is [String: Any].Type: "keys and values"
        case is [Any].Type: "a list"
        default: "\(type)"
        }
    }
}

private struct KeyedFields<Key: CodingKey>: KeyedDecodingContainerProtocol {
    let decoder: FieldDecoder
    var codingPath: [any CodingKey] { decoder.keys }

    var allKeys: [Key] {
        // Whoever asks for all keys takes whatever there is.
        decoder.asked.askAll(of: decoder.field)
        return (decoder.field.node.mapping ?? [:]).compactMap {
            $0.key.string.flatMap { Key(stringValue: $0) }
        }
    }

    private func find(_ key: Key) -> ConfigField? {
        decoder.asked.ask(key.stringValue, of: decoder.field)
        return decoder.field.child(key.stringValue)
    }

    /// The property of the defaults with this name; nil where it is nil.
    private func fallback(_ key: Key) -> Any? {
        let properties = decoder.defaults.map { Mirror(reflecting: $0).children }
        guard let value = properties?.first(where: { $0.label == key.stringValue })?.value else {
            return nil
        }
        let mirror = Mirror(reflecting: value)
        return mirror.displayStyle == .optional ? mirror.children.first?.value : value
    }

    private func missing(_ key: Key) -> DecodingError {
        .keyNotFound(
            key, DecodingError.Context(codingPath: codingPath, debugDescription: "missing"))
    }

    func contains(_ key: Key) -> Bool { find(key) != nil || fallback(key) != nil }

    func decodeNil(forKey key: Key) throws -> Bool { find(key)?.isNull ?? (fallback(key) == nil) }

    func decode<T: Decodable>(_ type: T.Type, forKey key: Key) throws -> T {
        let fallback = fallback(key)
        guard let field = find(key) else {
            guard let value = fallback as? T else { throw missing(key) }
            return value
        }
        return try decoder.inner(field, key, fallback).decode(type)
    }

    func decodeIfPresent<T: Decodable>(_ type: T.Type, forKey key: Key) throws -> T? {
        let fallback = fallback(key)
        guard let field = find(key) else { return fallback.flatMap { $0 as? T } }
        if field.isNull { return nil }
        return try decoder.inner(field, key, fallback).decode(type)
    }

    func nestedContainer<Nested: CodingKey>(
        keyedBy type: Nested.Type, forKey key: Key
    ) throws -> KeyedDecodingContainer<Nested> {
        guard let field = find(key) else { throw missing(key) }
        return try decoder.inner(field, key).container(keyedBy: type)
    }

    func nestedUnkeyedContainer(forKey key: Key) throws -> any UnkeyedDecodingContainer {
        guard let field = find(key) else { throw missing(key) }
        return try decoder.inner(field, key).unkeyedContainer()
    }

    func superDecoder() throws -> any Decoder { decoder }

    func superDecoder(forKey key: Key) throws -> any Decoder {
        guard let field = find(key) else { throw missing(key) }
        return decoder.inner(field, key)
    }
}

private struct ListedFields: UnkeyedDecodingContainer {
    let decoder: FieldDecoder
    let items: [ConfigField]
    var currentIndex = 0

    init(decoder: FieldDecoder, items: [ConfigField]) {
        self.decoder = decoder
        self.items = items
    }

    var codingPath: [any CodingKey] { decoder.keys }
    var count: Int? { items.count }
    var isAtEnd: Bool { currentIndex >= items.count }

    private mutating func next() throws -> FieldDecoder {
        guard !isAtEnd else { throw decoder.mismatch([Any].self) }
        defer { currentIndex += 1 }
        return decoder.inner(items[currentIndex], Index(currentIndex))
    }

    mutating func decodeNil() throws -> Bool {
        guard !isAtEnd, items[currentIndex].isNull else { return false }
        currentIndex += 1
        return true
    }

    mutating func decode<T: Decodable>(_ type: T.Type) throws -> T { try next().decode(type) }

    mutating func nestedContainer<Nested: CodingKey>(
        keyedBy type: Nested.Type
    ) throws -> KeyedDecodingContainer<Nested> { try next().container(keyedBy: type) }

    mutating func nestedUnkeyedContainer() throws -> any UnkeyedDecodingContainer {
        try next().unkeyedContainer()
    }

    mutating func superDecoder() throws -> any Decoder { try next() }

    private struct Index: CodingKey {
        let intValue: Int?
        var stringValue: String { "\(intValue ?? 0)" }
        init(_ index: Int) { intValue = index }
        init?(stringValue: String) { nil }
        init?(intValue: Int) { self.init(intValue) }
    }
}

private struct OneField: SingleValueDecodingContainer {
    let decoder: FieldDecoder
    init(_ decoder: FieldDecoder) { self.decoder = decoder }

    var codingPath: [any CodingKey] { decoder.keys }
    func decodeNil() -> Bool { decoder.field.isNull }
    func decode<T: Decodable>(_ type: T.Type) throws -> T { try decoder.decode(type) }
}

/// Numbers of every type.
private protocol LosslessNumber: LosslessStringConvertible {
    static var words: String { get }
}

extension LosslessNumber where Self: FixedWidthInteger {
    static var words: String { "a whole number from \(Self.min) to \(Self.max)" }
}

extension LosslessNumber where Self: BinaryFloatingPoint {
    static var words: String { "a number" }
}

extension Int: LosslessNumber {}
extension Int8: LosslessNumber {}
extension Int16: LosslessNumber {}
extension Int32: LosslessNumber {}
extension Int64: LosslessNumber {}
extension UInt: LosslessNumber {}
extension UInt8: LosslessNumber {}
extension UInt16: LosslessNumber {}
extension UInt32: LosslessNumber {}
extension UInt64: LosslessNumber {}
extension Float: LosslessNumber {}
extension Double: LosslessNumber {}
