import CSluice
import Generator
import Glibc
import Support

/// A JSON report's file: opened before the run, so that a run is not made in vain.
struct ReportFile {
    private let path: String
    private let file: UnsafeMutablePointer<FILE>

    init(_ path: String) throws(Failure) {
        guard let file = fopen(path, "we") else { throw Self.failure(path) }
        self.path = path
        self.file = file
    }

    func write(_ report: some Encodable) throws {
        let text = Array((JSONText.pretty(report) + "\n").utf8)
        let written = fwrite(text, 1, text.count, file)
        guard fclose(file) == 0, written == text.count else { throw Self.failure(path) }
    }

    private static func failure(_ path: String) -> Failure {
        Failure(.system, "cannot write \(path): \(String(cString: strerror(errno)))")
    }
}
