import Dataplane
import Foundation
import Support
import Testing

@testable import Configuration

@Suite("Settings")
struct SettingTests {
    /// Whatever a setting may be given, in all places where it may be.
    private static let values: KeyValuePairs<String, (good: [String], bad: [String])> = [
        "listen.interface": (
            ["auto", "eth0", "eth0,eth1", "eth0.10"],
            ["eth0/1", "auto,eth0", "aninterfacewithalongname", "eth0,", "eth0,,eth1"]
        ),
        "listen.address": (["any", "192.0.2.7"], ["1.2.3", "01.2.3.4", "localhost", "auto"]),
        "listen.io": (["auto", "packet", "udp", "raw"], ["dpdk", "RAW", "udpp"]),
        "listen.workers": (["auto", "1", "1024"], ["0", "1025", "+3", "03", "1.5", "many"]),
        "listen.cpus": (["auto", "0", "0-3", "1-3,7"], ["3-1", "1,", "+1", "4096", "x"]),
        "listen.steer": (["flow", "cpu"], ["random", "flows"]),
        "listen.busy-poll": (["true", "false"], ["yes", "1", "True"]),
        "listen.qdisc-bypass": (["true", "false"], ["no", "0"]),
        "listen.ring.frames": (["64", "1048576"], ["63", "0x80"]),
        "listen.ring.frame-size": (["2048", "65536"], ["2047", "9k"]),
        "listen.allow-sources": (
            ["0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/8,192.0.2.1"],
            ["10.0.0.1/8", "10.0.0.0/33", "gateway", "fd00::/8", "10.0.0.0/8,x", "10.0.0.0/8,"]
        ),
        "health.address": (
            ["0.0.0.0:8080", "127.0.0.1:81"], ["8080", "1.2.3.4:0", "1.2.3.4:+80"]
        ),
        "health.tcp": (["none", "127.0.0.1:82"], ["off", "localhost:82", "1.2.3.4:65536"]),
        "health.admin": (["none", "127.0.0.1:82"], ["off", "localhost:82", "1.2.3.4:65536"]),
        "drain.minimum": (["0", "30", "30s", "500ms", "1m"], ["-1", "soon", "1e1", "25h"]),
        "drain.idle": (["5", "0.5s", "5m"], ["0x10", "1d", "-5s"]),
        "drain.timeout": (["350", "2h", "24h"], ["forever", "86401"]),
        "geneve.require-aws-options": (["true", "false"], ["on"]),
        "geneve.outer-checksum": (["compute", "zero"], ["none", "zeroo"]),
        "geneve.verify-outer-checksum": (["never", "rewrites", "always"], ["rewrite", "x"]),
        "geneve.outer-ttl": (["decrement", "keep"], ["kept", "1"]),
        "mtu": (["68", "1500", "65000"], ["67", "65001", "+1500", "01500", "1.5e3"]),
        "flows.per-worker": (["8", "1024", "16777216"], ["1000", "4", "33554432", "02048"]),
        "flows.tcp-idle": (["1s", "5m"], ["0s", "999ms", "25h"]),
        "flows.other-idle": (["1", "120s"], ["0", "x"]),
        "flows.on-full": (["forward", "drop"], ["evict"]),
        "flows.allow-split-flows": (["true", "false"], ["perhaps"]),
        "policy.on-error": (["drop", "forward"], ["ignore", "dropp"]),
        "log.level": (["trace", "critical"], ["warnign", "verbose", "INFO"]),
        "log.format": (["text", "json"], ["xml"]),
        "log.rule-lines": (["0", "100000"], ["100001", "-1", "many"]),
    ]

    @Test func `every setting of the file has values to try`() {
        #expect(Set(Self.values.map(\.key)) == Set(Settings.all.compactMap(\.key)))
    }

    /// What becomes of a value: as it is written back, or the complaint without its place.
    private enum Outcome: Equatable {
        case value(String)
        case complaint(String)
    }

    private func outcome(_ setting: Setting, _ load: () throws -> Configuration) -> Outcome {
        do {
            return .value(setting.text(try load()))
        } catch {
            let names = [setting.key, setting.variable, "--\(setting.word ?? "?")"]
            let text = "\(error)"
            let start = names.compactMap { $0.flatMap { text.firstRange(of: "\($0): ") } }.first
            return .complaint(String(text[(start?.upperBound ?? text.startIndex)...]))
        }
    }

    @Test(arguments: values.map(\.key))
    func `flag, variable and file take the same values, with the same complaints`(
        key: String
    ) throws {
        let setting = Settings[key]
        let (good, bad) = try #require(Self.values.first { $0.key == key }).value
        for text in good + bad {
            let file = outcome(setting) {
                try ConfigFile.parse(yaml(key, text), path: "test.yaml")
            }
            if case .value = file {
                #expect(good.contains(text), "\(key): \(text)")
            } else {
                #expect(bad.contains(text), "\(key): \(text): \(file)")
            }
            guard let word = setting.word, let variable = setting.variable else { continue }
            for (flags, environment) in [([word: text], [:]), ([:], [variable: text])] {
                let other = outcome(setting) {
                    var configuration = Configuration()
                    try OptionReader(flags: flags, environment: environment)
                        .read(into: &configuration)
                    return configuration
                }
                #expect(other == file, "\(key): \(text)")
            }
        }
    }

    private func yaml(_ key: String, _ text: String) -> String {
        var lines = ""
        for (depth, word) in key.split(separator: ".").enumerated() {
            lines += (depth > 0 ? "\n" : "") + String(repeating: " ", count: depth) + "\(word):"
        }
        return "\(lines) \(text)\n"
    }

    @Test func `what is written back is read as the same`() throws {
        for setting in Settings.all {
            guard let key = setting.key else { continue }
            let file = try ConfigFile.parse(yaml(key, setting.standard), path: "test.yaml")
            #expect(setting.text(file) == setting.standard, "\(key)")
        }
    }

    @Test(arguments: Settings.all.compactMap(\.word))
    func `an empty value is complained about like a wrong one`(word: String) {
        let setting = Settings[word]
        func read(_ flags: [String: String], _ environment: [String: String]) throws {
            var configuration = Configuration()
            try OptionReader(flags: flags, environment: environment).read(into: &configuration)
        }
        let flag = #expect(throws: Failure.self) { try read([word: ""], [:]) }
        #expect(flag?.code == .usage)
        #expect(flag?.description.hasPrefix("--\(word): ") == true)
        let name = setting.variable ?? ""
        let variable = #expect(throws: Failure.self) { try read([:], [name: ""]) }
        #expect(variable?.code == .config)
        #expect(variable?.description.hasPrefix("\(name): ") == true)
        #expect(variable?.description.hasSuffix("''") == true)
    }

    @Test func `no two settings have the same key, word or place in the file`() {
        let keys = Settings.all.compactMap(\.key)
        let words = Settings.all.compactMap(\.word)
        #expect(Set(keys).count == keys.count)
        #expect(Set(words).count == words.count)
        #expect(Settings.keys(in: "listen.ring") == ["frames", "frame-size"])
        let sections = Set(
            keys.compactMap { $0.contains(".") ? $0.split(separator: ".").first : nil })
        #expect(sections.isSubset(of: Set(Settings.sections.map { Substring($0.key) })))
    }

    @Test func `what cannot change live is named by its key, or its section if all of it cannot`()
        throws
    {
        let old = try ConfigFile.parse("log: {}\n", path: "test.yaml")
        let new = try ConfigFile.parse(
            """
            listen: { io: udp, steer: cpu, ring: { frames: 128, frame-size: 4096 } }
            health: { tcp: "0.0.0.0:1" }
            drain: { minimum: 1s }
            flows: { per-worker: 1024, tcp-idle: 1s }
            log: { level: error }
            """, path: "test.yaml")
        #expect(
            LiveChange.refused(from: old, to: new) == [
                "listen.io", "listen.steer", "listen.ring", "health", "flows.per-worker",
            ])
    }
}

/// What several settings say together, and where each was given.
@Suite("Conflicts of settings")
struct ConflictTests {
    private func load(
        _ file: String?, _ flags: [String: String] = [:], _ environment: [String: String] = [:]
    ) throws -> Configuration {
        guard let file else {
            return try ConfigLoader(path: nil, flags: flags, environment: environment).load()
        }
        let path = FileManager.default.temporaryDirectory
            .appending(path: "sluice-\(getpid())-\(UInt64.random(in: .min ... .max)).yaml").path()
        try file.write(toFile: path, atomically: true, encoding: .utf8)
        defer { try? FileManager.default.removeItem(atPath: path) }
        do {
            return try ConfigLoader(path: path, flags: flags, environment: environment).load()
        } catch let failure as Failure {
            throw Failure(failure.code, failure.description.replacing(path, with: "FILE"))
        } catch let errors as ConfigErrors {
            throw ConfigErrors(errors.lines.map { $0.replacing(path, with: "FILE") })
        }
    }

    private func refusal(
        _ file: String?, _ flags: [String: String] = [:], _ environment: [String: String] = [:]
    ) -> String {
        do {
            _ = try load(file, flags, environment)
            return "none"
        } catch let failure as Failure {
            return "\(failure.code.rawValue) \(failure)"
        } catch {
            return "\(error)"
        }
    }

    @Test func `a prefix with host bits is refused in a variable`() {
        #expect(
            refusal(nil, [:], ["SLUICE_ALLOW_SOURCES": "10.0.0.1/8"])
                == "78 SLUICE_ALLOW_SOURCES: '10.0.0.1/8' has bits behind its prefix: write 10.0.0.0/8"
        )
    }

    @Test func `a drain's flag takes what the file takes`() throws {
        #expect(try load(nil, ["drain-minimum": "1m"]).run.drain.minimum == .seconds(60))
        #expect(try load(nil, ["drain-minimum": "30"]).run.drain.minimum == .seconds(30))
        #expect(
            try load(nil, [:], ["SLUICE_DRAIN_IDLE": "500ms"]).run.drain.idle == .milliseconds(500))
    }

    @Test func `a timeout below the minimum is refused, wherever both stand`() throws {
        #expect(
            refusal(nil, ["drain-minimum": "500", "drain-timeout": "100"])
                == "64 --drain-timeout (100 s) is below --drain-minimum (500 s)")
        #expect(
            refusal(nil, [:], ["SLUICE_DRAIN_MINIMUM": "10m"])
                == "78 drain.timeout (350 s) is below SLUICE_DRAIN_MINIMUM (600 s)")
        #expect(
            refusal("drain: { timeout: 20s }")
                == "FILE:1: drain.timeout: drain.timeout (20 s) is below drain.minimum (30 s)")
        #expect(
            refusal("drain: { minimum: 60s }", ["drain-timeout": "0.5"])
                == "64 --drain-timeout (0.5 s) is below FILE:1: drain.minimum (60 s)")
        let overruled = try load("drain: { minimum: 60s, timeout: 30s }", ["drain-timeout": "100"])
        #expect(overruled.run.drain.timeout == .seconds(100))
    }

    @Test func `raw with steering by CPU names where both stand`() {
        let file = "listen:\n  io: packet\n  steer: cpu\nflows: { allow-split-flows: true }\n"
        let needs = "steer: cpu needs io: packet or udp, but"
        #expect(
            refusal(file, [:], ["SLUICE_IO": "raw"])
                == "78 FILE:3: listen.steer: \(needs) SLUICE_IO says raw")
        #expect(
            refusal(file, ["io": "raw"]) == "64 FILE:3: listen.steer: \(needs) --io says raw")
        #expect(
            refusal(file.replacing("packet", with: "raw"))
                == "FILE:3: listen.steer: \(needs) listen.io says raw")
        #expect(
            refusal("listen: { io: raw }", ["steer": "cpu"])
                == "64 --steer cpu needs io: packet or udp, but FILE:1: listen.io says raw")
        #expect(
            refusal(nil, [:], ["SLUICE_STEER": "cpu", "SLUICE_IO": "raw"])
                == "78 SLUICE_STEER=cpu needs io: packet or udp, but SLUICE_IO says raw")
    }

    @Test func `two health ports on one number are named where they stand`() {
        #expect(
            refusal(nil, ["health-tcp": "0.0.0.0:8080"])
                == "64 --health-tcp: port 8080 is that of health.address: they need two ports")
        #expect(
            refusal("health: { tcp: \"0.0.0.0:81\" }", [:], ["SLUICE_HEALTH": "0.0.0.0:81"])
                == "78 FILE:1: health.tcp: port 81 is that of SLUICE_HEALTH: they need two ports")
    }

    @Test func `the admin port is one of its own`() {
        #expect(
            refusal(nil, ["admin": "127.0.0.1:8080"])
                == "64 --admin: port 8080 is that of health.address: they need two ports")
        #expect(
            refusal("health: { tcp: \"0.0.0.0:81\", admin: \"0.0.0.0:81\" }", [:])
                == "FILE:1: health.admin: port 81 is that of health.tcp: they need two ports"
        )
    }

    @Test func `split flows are refused wherever steering is given`() {
        let split = "steering by CPU splits flows, but the policy uses "
        #expect(refusal("policy: {}", ["steer": "cpu"]).hasPrefix("64 --steer: \(split)"))
        #expect(
            refusal("listen: { steer: cpu }").hasPrefix("FILE:1: listen.steer: \(split)"))
        #expect(refusal(nil, ["steer": "cpu"]) == "none", "what is built in has no such state")
    }

    @Test func `auto and a name are refused together, in a variable with its code`() {
        let words = "name interfaces or say auto, not both"
        #expect(
            refusal(nil, [:], ["SLUICE_INTERFACE": "auto,eth0"]) == "78 SLUICE_INTERFACE: \(words)")
        #expect(refusal(nil, ["interface": "eth0,auto"]) == "64 --interface: \(words)")
    }

    @Test func `a variable that means nothing is refused`() {
        #expect(
            refusal(nil, [:], ["SLUICE_WORKRS": "2"])
                == "78 unknown variable 'SLUICE_WORKRS': did you mean SLUICE_WORKERS?")
        #expect(
            refusal(nil, [:], ["SLUICE_DRAIN-MINIMUM": "2"])
                == "78 unknown variable 'SLUICE_DRAIN-MINIMUM': did you mean SLUICE_DRAIN_MINIMUM?")
        #expect(
            refusal(nil, [:], ["SLUICE_PORT": "tcp://10.0.0.1"])
                .hasPrefix("78 unknown variable 'SLUICE_PORT': expected one of SLUICE_INTERFACE, "))
        #expect(
            refusal(nil, [:], ["SLUICE_CONFIG": "a", "SLUICE_CONTROL": "b", "SLUICEBOX": "c"])
                == "none")
    }
}
