import CSluice

/// Lines for people and log collectors, which may be slow or gone.
public enum StandardError {
    /// How much a line matters, as syslog(3) counts.
    public enum Priority: Int, Sendable {
        case critical = 2
        case error, warning, notice, info, debug
    }

    /// The journal takes the priority off the line (sd-daemon(3)); elsewhere it would be read.
    private static let isJournal = sluice_error_is_journal() != 0

    /// Writes the line, or loses it: never waits, never fails.
    public static func write(_ line: String, _ priority: Priority = .error) {
        let mark = isJournal ? "<\(priority.rawValue)>" : ""
        let bytes = Array((mark + line + "\n").utf8.map { CChar(bitPattern: $0) })
        sluice_write_error_line(bytes, bytes.count)
    }
}
