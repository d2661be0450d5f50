import ArgumentParser
import CSluice
import Generator
import Glibc
import Support

/// Where a JSON report goes: a file, opened before the run so that a run is not made in vain; or
/// standard output (`-`), which then has nothing else: what is for people goes to standard error.
struct ReportFile {
    private let path: String
    /// Nil: no report was asked for.
    private let file: UnsafeMutablePointer<FILE>?

    /// Of the option that names it. - Parameter what: a word for the report.
    static func help(_ what: String) -> ArgumentHelp {
        "Where to write the \(what) as JSON; - is standard output, which then has nothing else."
    }

    init(_ path: String?) throws(Failure) {
        self.path = path ?? ""
        guard let path else {
            file = nil
            return
        }
        // A reader that has gone, of a pipe or a FIFO, is an error as any other.
        signal(SIGPIPE, SIG_IGN)
        guard let file = path == "-" ? fdopen(dup(1), "w") : fopen(path, "we") else {
            throw Self.failure(path)
        }
        self.file = file
    }

    /// A line for people.
    func tell(_ line: String) {
        guard path == "-" else { return print(line) }
        StandardError.write(line)
    }

    func write(_ report: some Encodable) throws {
        guard let file else { return }
        let text = Array((JSONText.pretty(report) + "\n").utf8)
        let written = fwrite(text, 1, text.count, file)
        guard fclose(file) == 0, written == text.count else { throw Self.failure(path) }
    }

    private static func failure(_ path: String) -> Failure {
        let name = path == "-" ? "standard output" : path
        return Failure(.system, "cannot write \(name): \(String(cString: strerror(errno)))")
    }
}
