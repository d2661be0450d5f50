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
        case .text: line = "\(time) \(event.level) \(text)"
        case .json: line = LineLogHandler.json(time, event.level, text)
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

    private static func json(_ time: String, _ level: Logger.Level, _ text: String) -> String {
        JSONText.line(["time": time, "level": "\(level)", "message": text])
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
