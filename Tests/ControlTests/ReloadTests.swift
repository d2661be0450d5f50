import Dataplane
import Foundation
import Testing

@testable import Control

@Suite("Reload")
struct ReloadTests {
    /// A file that is gone after the test.
    private func withFile(_ text: String, _ body: (String) throws -> Void) throws {
        let path = FileManager.default.temporaryDirectory
            .appending(path: "sluice-\(getpid())-\(UInt64.random(in: .min ... .max)).yaml").path()
        try text.write(toFile: path, atomically: true, encoding: .utf8)
        defer { try? FileManager.default.removeItem(atPath: path) }
        try body(path)
    }

    @Test func `snapshots do not pile up behind a worker that hangs`() throws {
        try withFile("listen: { interface: lo }\nmtu: 1000\n") { path in
            let loader = ConfigLoader(path: path, flags: [:], environment: [:])
            let policy = PolicyControl(loader: loader, try loader.load())
            try policy.start(workers: 1, settings: PathSettings())
            for _ in 0..<8 { _ = try policy.reload(workers: []) }
            // Nobody has adopted anything.
            let errors = #expect(throws: ConfigErrors.self) { try policy.reload(workers: []) }
            #expect(
                errors?.lines == ["8 generations wait for a worker that makes no progress"])
            #expect(policy.reloads.generation == 9)
            #expect(policy.reloads.failed == 1)
            var worker = try policy.makeProcessor(worker: 0)
            var settings = PathSettings()
            worker.adopt(&settings)
            let isSettled = policy.settle(workers: 1)
            #expect(isSettled)
            #expect(throws: Never.self) { try policy.reload(workers: []) }
        }
    }

    @Test func `many mistakes are told up to a hundred, long ones cut`() {
        let errors = ConfigErrors((0..<250).map { "\($0) " + String(repeating: "x", count: 5000) })
        #expect(errors.lines.count == 101)
        #expect(errors.lines[0].count == 1001)
        #expect(errors.lines[100] == "and 150 more")
        #expect(ConfigErrors(["a"]).lines == ["a"])
    }
}
