import Glibc

/// A regular file of any size, of which a piece at a time is in memory. Alone in its file: see
/// `WholeFile`.
final class FileWindow {
    private static let piece = 1 << 20

    /// Bytes that the file had when it was opened.
    let count: Int
    /// Nil: everything is in memory.
    private let descriptor: Int32?
    private var bytes: [UInt8]
    /// Where `bytes` begin in the file.
    private var start = 0

    init(path: String) throws(WholeFile.Failure) {
        let file = try WholeFile.open(path)
        descriptor = file.descriptor
        count = file.size
        bytes = []
    }

    init(bytes: [UInt8]) {
        descriptor = nil
        count = bytes.count
        self.bytes = bytes
    }

    deinit { if let descriptor { close(descriptor) } }

    /// Nil where the file has become shorter, or cannot be read.
    ///
    /// - Precondition: the range lies within `count`.
    func read(_ range: Range<Int>) -> ArraySlice<UInt8>? {
        precondition(range.lowerBound >= 0 && range.upperBound <= count)
        if range.lowerBound < start || range.upperBound > start + bytes.count {
            load(from: range.lowerBound, atLeast: range.count)
        }
        guard range.upperBound <= start + bytes.count else { return nil }
        return bytes[range.lowerBound - start..<range.upperBound - start]
    }

    private func load(from offset: Int, atLeast needed: Int) {
        guard let descriptor else { return }
        let size = min(max(needed, FileWindow.piece), count - offset)
        start = offset
        // Sound: pread() writes at most what is left of the buffer, and `filled` bytes are written.
        bytes = unsafe [UInt8](unsafeUninitializedCapacity: size) { buffer, filled in
            while filled < buffer.count {
                let n = unsafe pread(
                    descriptor, buffer.baseAddress! + filled, buffer.count - filled, offset + filled
                )
                if n < 0 && errno == EINTR { continue }
                guard n > 0 else { break }
                filled += n
            }
        }
    }
}
