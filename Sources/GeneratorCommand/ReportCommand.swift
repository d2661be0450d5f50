import ArgumentParser
import Generator
import Glibc
import Support

/// `sluice-gen report`: a page with plots.
struct ReportCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "report",
        abstract: "Makes an HTML page with plots out of JSON reports.",
        discussion: """
            Throughput by size, latency distributions, rate and loss over time, of the files that \
            run, search, soak and compare write by --json. The page holds its pictures and opens \
            without network. Needs python3 with matplotlib (pip install matplotlib).
            """)

    @Argument(help: "JSON reports.")
    var files: [String]
    @Option(help: "The directory for index.html; made if it is not there.")
    var out: String

    /// Python does it, in place of this program: its exit code and its errors are ours.
    mutating func run() throws {
        let script = String(decoding: PackageResources.report_py, as: UTF8.self)
        var arguments = ["python3", "-c", script, out] + files
        arguments.removeAll { $0.contains("\0") }
        var pointers: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) }
        pointers.append(nil)
        execvp("python3", &pointers)
        let reason = errno == ENOENT ? "is not there: install it" : String(cString: strerror(errno))
        throw Failure(.system, "report needs python3, which \(reason) (and matplotlib)")
    }
}
