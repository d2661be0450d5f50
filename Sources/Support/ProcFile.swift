import Glibc

/// Small files of /proc, whole.
public enum ProcFile {
    /// Empty when it cannot be read.
    public static func read(_ path: String) -> String {
        // Sound: the file stays open until the function returns, and fread is told the chunk's size.
        guard let file = unsafe fopen(path, "re") else { return "" }
        defer { unsafe fclose(file) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 4096)
        while true {
            let n = unsafe fread(&chunk, 1, chunk.count, file)
            guard n > 0 else { return String(decoding: bytes, as: UTF8.self) }
            bytes += chunk.prefix(n)
        }
    }
}
