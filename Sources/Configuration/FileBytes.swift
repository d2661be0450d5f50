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

    /// As `read`, without the byte order mark that some editors put in front of UTF-8.
    static func readText(_ path: String, limit: Int) throws(ConfigErrors) -> ArraySlice<UInt8> {
        withoutMark(try read(path, limit: limit))
    }

    /// What comes on standard input.
    static func standardInput(limit: Int) throws(ConfigErrors) -> [UInt8] {
        do throws(WholeFile.Failure) {
            return try WholeFile.standardInput(limit: limit)
        } catch {
            throw ConfigErrors([error.description])
        }
    }

    static func withoutMark(_ bytes: [UInt8]) -> ArraySlice<UInt8> {
        bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? bytes.dropFirst(3) : bytes[...]
    }
}
