import Foundation

/// Files that the kernel writes while they are read, as those of /proc.
public enum HostFile {
    /// Nil when it is not there, or no text.
    public static func text(_ path: String) -> String? {
        try? String(contentsOfFile: path, encoding: .utf8)
    }
}
