import Glibc

/// Reading whole files, bounded. Alone in its file: Glibc's own module and CSluice's do not mix.
public enum WholeFile {
    /// What is wrong with a file, as one line that names it.
    public struct Failure: Error, CustomStringConvertible {
        public let description: String

        public init(_ path: String, _ text: String) { description = "\(path): \(text)" }

        /// What `errno` says. Sound: strerror gives a C string, which is copied at once.
        fileprivate init(errnoOf path: String) {
            unsafe self.init(path, String(cString: strerror(errno)))
        }
    }

    /// What a device or FIFO gives has no end that can be known: only regular files are read.
    private static func kind(of status: stat) -> String {
        switch status.st_mode & S_IFMT {
        case S_IFDIR: "a directory"
        case S_IFIFO: "a FIFO"
        case S_IFSOCK: "a socket"
        case S_IFCHR, S_IFBLK: "a device"
        default: "something else"
        }
    }

    /// Opens a regular file for reading.
    static func open(_ path: String) throws(Failure) -> (descriptor: Int32, size: Int) {
        // Not blocking, so that a FIFO without a writer is refused instead of waited for.
        // Sound: the path is a C string for the call, the status is a variable of its own.
        let descriptor = unsafe Glibc.open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw Failure(errnoOf: path) }
        var status = stat()
        guard unsafe fstat(descriptor, &status) == 0 else {
            let failure = Failure(errnoOf: path)
            close(descriptor)
            throw failure
        }
        guard status.st_mode & S_IFMT == S_IFREG else {
            close(descriptor)
            throw Failure(path, "\(kind(of: status)), not a regular file")
        }
        return (descriptor, Int(status.st_size))
    }

    /// All bytes of a regular file of at most `limit` bytes.
    public static func bytes(of path: String, limit: Int) throws(Failure) -> [UInt8] {
        let (descriptor, size) = try open(path)
        defer { close(descriptor) }
        guard size <= limit else {
            throw Failure(path, "\(size) bytes, more than the \(limit >> 20) MiB that are read")
        }
        return try read(descriptor, path, atMost: size)
    }

    /// All that comes on standard input, up to its end.
    public static func standardInput(limit: Int) throws(Failure) -> [UInt8] {
        let bytes = try read(0, "<stdin>", atMost: limit + 1)
        guard bytes.count <= limit else {
            throw Failure("<stdin>", "more than the \(limit >> 20) MiB that are read")
        }
        return bytes
    }

    private static func read(
        _ descriptor: Int32, _ path: String, atMost size: Int
    ) throws(Failure) -> [UInt8] {
        var failure: Failure?
        // Sound: read() writes at most what is left of the buffer, and `count` bytes are written.
        let bytes = unsafe [UInt8](unsafeUninitializedCapacity: size) {
            buffer, count in
            // A file that grows meanwhile is read up to where it ended.
            while count < buffer.count {
                let n = unsafe Glibc.read(
                    descriptor, buffer.baseAddress! + count, buffer.count - count)
                if n < 0 && errno == EINTR { continue }
                if n < 0 { failure = Failure(errnoOf: path) }
                guard n > 0 else { break }
                count += n
            }
        }
        if let failure { throw failure }
        return bytes
    }
}
