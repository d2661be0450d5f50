import CSluice

/// Lines for people and log collectors, which may be slow or gone.
public enum StandardError {
    /// Writes the line, or loses it: never waits, never fails.
    public static func write(_ line: String) {
        let bytes = Array((line + "\n").utf8.map { CChar(bitPattern: $0) })
        sluice_write_error_line(bytes, bytes.count)
    }
}
