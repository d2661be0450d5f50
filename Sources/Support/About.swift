import Foundation

/// When and where a report was made.
public struct About: Codable, Sendable {
    /// In UTC, as ISO 8601 has it.
    public let date: String
    public let host: String
    /// Of sluice-gen.
    public let version: String
    public let kernel: String

    public init() {
        func line(_ path: String) -> String {
            let text = ProcFile.read(path).trimmingCharacters(in: .whitespacesAndNewlines)
            return text.isEmpty ? "unknown" : text
        }
        date = Date().formatted(.iso8601)
        host = line("/proc/sys/kernel/hostname")
        kernel = line("/proc/sys/kernel/osrelease")
        version = SluiceVersion.text
    }
}
