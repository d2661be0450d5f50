import Glibc

/// Reading and writing whole files. Alone in its file: Glibc's own module and CSluice's do not
/// mix.
enum Files {
    struct Failure: Error, CustomStringConvertible {
        let description: String

        init(_ path: String, _ text: String) { description = "\(path): \(text)" }
        init(_ path: String) { self.init(path, String(cString: strerror(errno))) }
    }

    /// The text of a file of at most `limit` bytes.
    static func text(of path: String, limit: Int) throws(Failure) -> String {
        guard let file = fopen(path, "re") else { throw Failure(path) }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: limit + 1)
        let count = fread(&bytes, 1, bytes.count, file)
        guard ferror(file) == 0 else { throw Failure(path) }
        guard count <= limit else { throw Failure(path, "longer than \(limit) bytes") }
        guard let text = String(validating: bytes.prefix(count), as: UTF8.self) else {
            throw Failure(path, "not UTF-8")
        }
        return text
    }

    /// A file opened ahead of time, so that a bad path shows at once.
    struct Output: ~Copyable {
        private let path: String
        private let descriptor: Int32

        /// - Parameter path: nil = standard output.
        init(_ path: String?) throws(Failure) {
            self.path = path ?? "standard output"
            descriptor = path.map { open($0, O_WRONLY | O_CREAT | O_CLOEXEC, 0o644) } ?? 1
            guard descriptor >= 0 else { throw Failure(self.path) }
        }

        /// Replaces what the file holds.
        func write(_ text: String) throws(Failure) {
            if descriptor != 1 { _ = ftruncate(descriptor, 0) }
            var bytes = Array(text.utf8)[...]
            while !bytes.isEmpty {
                let n = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
                guard n > 0 else { throw Failure(path) }
                bytes = bytes.dropFirst(n)
            }
        }

        deinit { if descriptor > 2 { close(descriptor) } }
    }
}
