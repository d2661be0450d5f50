import Configuration
import Foundation
import Logging
import Support

/// Log lines on standard error: one line per event, as text or as JSON.
public struct LineLogHandler: LogHandler {
    public var logLevel: Logger.Level
    public var metadata: Logger.Metadata = [:]
    private let format: LogFormat

    public init(level: Logger.Level, format: LogFormat) {
        logLevel = level
        self.format = format
    }

    public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    public func log(event: LogEvent) {
        let time = LineLogHandler.timestamp()
        let text = "\(event.message)"
        let line: String
        switch format {
        case .text:
            line = "\(time) \(event.level) \(text)\(LineLogHandler.text(event.metadata ?? [:]))"
        case .json: line = LineLogHandler.json(time, event.level, text, event.metadata ?? [:])
        }
        // The line is data, never a format string.
        StandardError.write(line, LineLogHandler.priority(event.level))
    }

    private static func priority(_ level: Logger.Level) -> StandardError.Priority {
        switch level {
        case .trace, .debug: .debug
        case .info: .info
        case .notice: .notice
        case .warning: .warning
        case .error: .error
        case .critical: .critical
        }
    }

    /// Fields as key=value, in quotes where a value would not be one word.
    private static func text(_ fields: Logger.Metadata) -> String {
        fields.sorted { $0.key < $1.key }.map { key, value in
            let text: String =
                if case .array(let items) = value {
                    items.map { "\($0)" }.joined(separator: ",")
                } else { "\(value)" }
            let isWord =
                !text.isEmpty
                && text.utf8.allSatisfy { (0x21...0x7E).contains($0) && $0 != 0x22 && $0 != 0x3D }
            return " \(key)=\(isWord ? text : JSONText.line(text))"
        }.joined()
    }

    private static func json(
        _ time: String, _ level: Logger.Level, _ text: String, _ fields: Logger.Metadata
    ) -> String {
        let event: [String: JSONValue] = [
            "time": .string(time), "level": .string("\(level)"), "message": .string(text),
        ]
        return JSONText.line(event.merging(fields.mapValues(value)) { own, _ in own })
    }

    private static func value(_ value: Logger.Metadata.Value) -> JSONValue {
        switch value {
        case .string(let text): .string(text)
        case .stringConvertible(let flag as Bool): .bool(flag)
        case .stringConvertible(let number as any BinaryInteger): .integer(Int(clamping: number))
        case .stringConvertible(let other): .string("\(other)")
        case .array(let items): .array(items.map(LineLogHandler.value))
        case .dictionary(let fields): .object(fields.mapValues(LineLogHandler.value))
        }
    }

    /// RFC 3339, UTC, milliseconds.
    private static func timestamp() -> String {
        Date.now.formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true))
    }
}

extension Configuration {
    /// The log that it asks for.
    public func makeLogger() -> Logger {
        Logger(label: "sluice") { _ in LineLogHandler(level: logLevel, format: logFormat) }
    }
}
