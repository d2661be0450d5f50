import Dataplane
import Foundation
import SluiceTesting
import Support
import Testing

@testable import Appliance
@testable import Configuration
@testable import RuleEngine

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
            let shape = ProcessorShape(Rules.self)
            let control = ConfigurationControl(
                loader: loader, processor: shape, try loader.load())
            try control.start(workers: 1, settings: PathSettings())
            let thread = try WorkerThread(
                index: 0, cpu: 0, processor: shape, first: control.snapshot)
            for _ in 0..<8 { _ = try control.reload(workers: [thread]) }
            // It has adopted nothing.
            let errors = #expect(throws: ConfigErrors.self) {
                try control.reload(workers: [thread])
            }
            #expect(
                errors?.lines == ["8 generations wait for a worker that makes no progress"])
            #expect(control.reloads.generation == 9)
            #expect(control.reloads.failed == 1)
            var worker = try Worker<MemoryIO, Rules>(
                index: 0, io: MemoryIO(), link: thread.link, flowCapacity: 64, seed: 1,
                counters: thread.counters)
            _ = worker.runBurst()
            let isSettled = try control.settle(workers: [thread], loader.load().makeLogger())
            #expect(isSettled)
            #expect(throws: Never.self) { try control.reload(workers: [thread]) }
        }
    }

    /// `BlogPolicy` has a rule of that name, too.
    @Test func `rules of one name are one series`() throws {
        let name = try #require(BlogPolicy.ruleNames.first)
        try withFile(
            "policy: { rules: [{ name: \(name), action: count }, { name: b, action: count }] }\n"
        ) { path in
            let shape = ProcessorShape(Chain<BlogPolicy, Rules>.self)
            let loader = ConfigLoader(
                path: path, flags: [:], environment: [:], processor: shape)
            let control = ConfigurationControl(
                loader: loader, processor: shape, try loader.load())
            try control.start(workers: 1, settings: PathSettings())
            let thread = try WorkerThread(
                index: 0, cpu: 0, processor: shape, first: control.snapshot)
            thread.counters.addRuleHit(0)
            let rules = Gauges(
                backend: .udp, workers: [thread], processor: shape, configuration: control,
                interfaces: [], unclaimed: UnclaimedPackets([]), flowCapacity: 64
            ).read().rules
            #expect(Set(rules.map(\.name)).count == rules.count)
            #expect(rules.first { $0.name == name }?.hits == 1)
            #expect(Set(rules.map(\.name)) == Set(BlogPolicy.ruleNames + ["b"]))
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
