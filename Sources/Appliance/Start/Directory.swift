import Foundation

enum Directory {
    /// The names in a directory; empty when it cannot be read.
    static func names(_ path: String) -> [String] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []
        return names.filter { !$0.hasPrefix(".") }
    }
}
