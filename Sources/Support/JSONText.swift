import Foundation

/// Values of our own making as JSON: keys sorted, in snake case where they are named in Swift.
public enum JSONText {
    /// One line, without its line feed.
    public static func line(_ value: some Encodable) -> String { encode(value, [.sortedKeys]) }

    /// Indented, for people who look at a file.
    public static func pretty(_ value: some Encodable) -> String {
        encode(value, [.sortedKeys, .prettyPrinted])
    }

    private static func encode(
        _ value: some Encodable, _ formatting: JSONEncoder.OutputFormatting
    ) -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = formatting.union(.withoutEscapingSlashes)
        encoder.keyEncodingStrategy = .convertToSnakeCase
        // Numbers that are finite, and strings: this cannot fail.
        return String(decoding: try! encoder.encode(value), as: UTF8.self)
    }
}
