import CSluice
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
        StandardError.write(line)
    }

    private static func json(_ time: String, _ level: Logger.Level, _ text: String) -> String {
        JSONText.line(["time": time, "level": "\(level)", "message": text])
    }

    /// RFC 3339, UTC, milliseconds.
    private static func timestamp() -> String {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        var parts = tm()
        gmtime_r(&now.tv_sec, &parts)
        func two(_ n: Int32) -> String { n < 10 ? "0\(n)" : "\(n)" }
        let date = "\(1900 + parts.tm_year)-\(two(parts.tm_mon + 1))-\(two(parts.tm_mday))"
        let time = "\(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec))"
        let thousandths = String(1000 + now.tv_nsec / 1_000_000).dropFirst()
        return "\(date)T\(time).\(thousandths)Z"
    }
}

extension Configuration {
    /// The log that it asks for.
    public func makeLogger() -> Logger {
        Logger(label: "sluice") { _ in LineLogHandler(level: logLevel, format: logFormat) }
    }
}
