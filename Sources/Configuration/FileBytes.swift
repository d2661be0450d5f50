import Capture

/// Whole files: regular ones, bounded.
enum FileBytes {
    static func read(_ path: String, limit: Int) throws(ConfigErrors) -> [UInt8] {
        do throws(WholeFile.Failure) {
            return try WholeFile.bytes(of: path, limit: limit)
        } catch {
            throw ConfigErrors([error.description])
        }
    }
}
