import Foundation
import Testing

/// What the fuzzer has found worth keeping (tools/fuzz), replayed on every test run.
@Suite("Fuzzer corpus")
struct CorpusTests {
    @Test("every kept input is decided, and counted exactly once")
    func replay() throws {
        let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .deletingLastPathComponent().appendingPathComponent("Fuzz/Corpus/packet")
        let files = try FileManager.default.contentsOfDirectory(
            at: folder, includingPropertiesForKeys: nil)
        #expect(files.count > 50)
        var bench = try Bench(io: .init(placement: .exact(growth: 8)))
        for file in files {
            let outcome = bench.outcome(of: [UInt8](try Data(contentsOf: file)))
            #expect(outcome != nil, "\(file.lastPathComponent)")
        }
    }
}
