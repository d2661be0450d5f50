import Support
import Testing

@testable import Appliance
@testable import Configuration
@testable import Sluice

/// Errors of a start name the settings as they were given, and end with the code of that place.
@Suite("Who is to blame for a start that fails")
struct BlameTests {
    private func configuration(
        _ file: String, _ flags: [String: String] = [:], _ environment: [String: String] = [:]
    ) throws -> Configuration {
        var configuration = try ConfigFile.parse(file, path: "sluice.yaml")
        try OptionReader(flags: flags, environment: environment).read(into: &configuration)
        return configuration
    }

    private func refusal(_ body: () throws -> Void) -> String {
        do {
            try body()
            return "none"
        } catch let failure as Failure {
            return "\(failure.code.rawValue) \(failure)"
        } catch {
            return "\(error)"
        }
    }

    @Test func `a setting is named as it was given, and blamed with the code of its place`() throws
    {
        let file = "listen:\n  io: packet\n"
        func blame(_ configuration: Configuration) -> String {
            refusal { throw configuration.failure(blaming: "listen.io", "is wrong") }
        }
        #expect(try blame(configuration(file)) == "78 sluice.yaml:2: listen.io: is wrong")
        #expect(
            try blame(configuration(file, [:], ["SLUICE_IO": "udp"])) == "78 SLUICE_IO: is wrong")
        #expect(
            try blame(configuration(file, ["io": "raw"], ["SLUICE_IO": "udp"]))
                == "64 --io: is wrong")
        #expect(blame(Configuration()) == "78 is wrong", "a default is nobody's mistake")
    }

    @Test func `a default is named by its flag, else its variable, else its key`() {
        let defaults = Configuration()
        #expect(defaults.name(of: "listen.interface") == "--interface")
        #expect(defaults.name(of: "control") == "--control")
        #expect(defaults.name(of: "flows.per-worker") == "SLUICE_FLOWS_PER_WORKER")
        #expect(defaults.name(of: "listen.ring.frames") == "listen.ring.frames")
    }

    @Test func `a backend without a clear interface blames who asked for it`() throws {
        func blame(_ configuration: Configuration) -> String {
            refusal { _ = try BackendChoice(configuration, interfaces: []) }
        }
        let words = "packet needs an Ethernet interface with an IPv4 address and found none:"
        let file = "listen: { io: packet }"
        #expect(try blame(configuration(file)).hasPrefix("78 sluice.yaml:1: listen.io: \(words) "))
        #expect(
            try blame(configuration("log: {}\n", [:], ["SLUICE_IO": "packet"]))
                .hasPrefix("78 SLUICE_IO: \(words) "))
        #expect(
            try blame(configuration("log: {}\n", ["io": "packet"])).hasPrefix("64 --io: \(words) "))
    }

    /// An interface that there is not is not Ethernet either.
    @Test func `an interface that is not Ethernet is blamed where it was named`() throws {
        func blame(_ configuration: Configuration) -> String {
            refusal { _ = try BackendChoice(configuration, interfaces: ["nosuch0"]) }
        }
        let words = "interface nosuch0 is not Ethernet: packet cannot use it, "
        let file = "listen:\n  io: packet\n  interface: nosuch0\n"
        #expect(
            try blame(configuration(file)).hasPrefix("78 sluice.yaml:3: listen.interface: \(words)")
        )
        #expect(
            try blame(configuration("listen: { io: packet }", ["interface": "nosuch0"]))
                .hasPrefix("64 --interface: \(words)"))
        #expect(
            try blame(configuration("listen: { io: packet }"))
                .hasPrefix("78 sluice.yaml:1: listen.io: \(words)"), "nobody named the interface")
    }

    @Test func `a CPU that the process may not use is blamed where it was given`() throws {
        func blame(_ configuration: Configuration) -> String {
            refusal {
                _ = try Placement(
                    workers: nil, cpus: configuration.run.cpus, allowed: [0, 1], of: configuration)
            }
        }
        let words = "CPU 999 is not allowed to this process: choose from [0, 1]"
        #expect(
            try blame(configuration("listen: { cpus: 999 }"))
                == "78 sluice.yaml:1: listen.cpus: \(words)")
        #expect(
            try blame(configuration("log: {}\n", [:], ["SLUICE_CPUS": "999"]))
                == "78 SLUICE_CPUS: \(words)")
        #expect(try blame(configuration("log: {}\n", ["cpus": "0,999"])) == "64 --cpus: \(words)")
    }

    @Test func `a control path that is too long is blamed where it was given`() throws {
        let path = "/tmp/" + String(repeating: "x", count: 103)
        func blame(_ configuration: Configuration) -> String {
            refusal { _ = try ControlSocket(path: path, configuration) }
        }
        let words = "control socket \(path): a path of at most 107 bytes is possible"
        #expect(
            try blame(configuration("log: {}\n", ["control": path])) == "64 --control: \(words)")
        #expect(
            try blame(configuration("log: {}\n", [:], ["SLUICE_CONTROL": path]))
                == "78 SLUICE_CONTROL: \(words)")
    }

    @Test func `reload refuses a variable that means nothing, like run`() throws {
        let reload = try Reload.parse([])
        #expect(try reload.controlPath(environment: [:]) == nil)
        #expect(try reload.controlPath(environment: ["SLUICE_CONTROL": "/a"]) == "/a")
        #expect(
            try Reload.parse(["--control", "/b"]).controlPath(environment: ["SLUICE_CONTROL": "/a"])
                == "/b")
        #expect(
            refusal { _ = try reload.controlPath(environment: ["SLUICE_CONTRL": "/a"]) }
                == "78 unknown variable 'SLUICE_CONTRL': did you mean SLUICE_CONTROL?")
    }
}
