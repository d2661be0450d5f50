import Capture
import Generator
import Glibc
import Support

/// The packets of `--replay`.
enum ReplayFile {
    /// Inner packets in the order of the capture.
    static func packets(_ path: String) throws(Failure) -> [[UInt8]] {
        let capture: CaptureFile
        do {
            capture = try CaptureFile(path: try spooled(path))
        } catch {
            throw Failure(.usage, "--replay: \(error)")
        }
        let limit = SizeMix.allowed.upperBound
        let packets = capture.packets.map(\.bytes).filter { $0.count <= limit }
        guard !packets.isEmpty else {
            throw Failure(
                .usage, "--replay: \(path) has only packets above \(limit) bytes, GWLB carries none"
            )
        }
        let longer = capture.packets.count - packets.count
        if longer > 0 {
            StandardError.write(
                "--replay: \(longer) of \(capture.packets.count) packets are left out, longer than "
                    + "\(limit) bytes: merged by the host that captured them (GRO or TSO)")
        }
        return packets
    }

    /// A path to read from like a file: what a FIFO (`<(…)` in a shell) gives is put into a file
    /// without a name, which ends with the program.
    private static func spooled(_ path: String) throws(Failure) -> String {
        var status = stat()
        guard stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFIFO else { return path }
        guard let fifo = fopen(path, "re"), let file = tmpfile() else {
            throw Failure(.system, "--replay: \(path): \(String(cString: strerror(errno)))")
        }
        defer { fclose(fifo) }
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = fread(&buffer, 1, buffer.count, fifo)
            guard count > 0 else { break }
            guard fwrite(buffer, 1, count, file) == count else { break }
        }
        guard ferror(fifo) == 0, fflush(file) == 0, ferror(file) == 0 else {
            throw Failure(.system, "--replay: \(path): \(String(cString: strerror(errno)))")
        }
        return "/proc/self/fd/\(fileno(file))"
    }
}
