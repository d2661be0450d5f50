import CSluice
import Generator
import Glibc

import struct Foundation.Data
import class Foundation.JSONEncoder

/// A JSON report's file: opened before the run, so that a run is not made in vain.
struct ReportFile {
    private let path: String
    private let file: UnsafeMutablePointer<FILE>

    init(_ path: String) throws(Complaint) {
        guard let file = fopen(path, "we") else { throw Self.failure(path) }
        self.path = path
        self.file = file
    }

    func write(_ report: some Encodable) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        let data = try encoder.encode(report) + Data("\n".utf8)
        let written = data.withUnsafeBytes { fwrite($0.baseAddress, 1, $0.count, file) }
        guard fclose(file) == 0, written == data.count else { throw Self.failure(path) }
    }

    private static func failure(_ path: String) -> Complaint {
        Complaint(.system, "cannot write \(path): \(String(cString: strerror(errno)))")
    }
}
