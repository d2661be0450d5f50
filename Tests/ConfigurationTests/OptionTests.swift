import Dataplane
import Foundation
import Support
import Testing

@testable import Appliance
@testable import Configuration

@Suite("Options")
struct OptionTests {
    private func read(
        _ flags: [String: String], _ environment: [String: String] = [:]
    ) throws -> RunOptions {
        try ConfigLoader(path: nil, flags: flags, environment: environment).load().run
    }

    @Test("without flags: blog policy defaults")
    func defaults() throws {
        let options = try read([:])
        #expect(options.backend == nil)
        #expect(options.workers == nil)
        #expect(options.health == ListenAddress("0.0.0.0:8080"))
        #expect(options.settings.mtu == 8500)
        #expect(!options.mtuIsSet)
        #expect(options.settings.requireAWSOptions)
        #expect(options.drain == DrainLimits())
    }

    @Test("every flag is read")
    func flags() throws {
        let options = try read([
            "interface": "eth0,eth1", "address": "192.0.2.7", "io": "raw", "workers": "3",
            "cpus": "0-1,3", "busy-poll": "true", "health": "127.0.0.1:81",
            "health-tcp": "127.0.0.1:82", "drain-minimum": "1", "drain-timeout": "2.5s",
        ])
        #expect(options.interfaces == ["eth0", "eth1"])
        #expect(options.address == 0xC000_0207)
        #expect(options.backend == .raw)
        #expect(options.workers == 3)
        #expect(options.cpus == [0, 1, 3])
        #expect(options.busyPoll)
        #expect(options.health.port == 81)
        #expect(options.healthTCP?.port == 82)
        #expect(options.drain.minimum == .seconds(1))
        #expect(options.drain.timeout == .milliseconds(2500))
    }

    @Test("a flag beats its variable")
    func precedence() throws {
        let options = try read(["workers": "2"], ["SLUICE_WORKERS": "7", "SLUICE_IO": "udp"])
        #expect(options.workers == 2)
        #expect(options.backend == .udp)
    }

    @Test("the path settings come from variables")
    func variables() throws {
        let options = try read(
            [:],
            [
                "SLUICE_MTU": "1400", "SLUICE_REQUIRE_AWS_OPTIONS": "false",
                "SLUICE_OUTER_CHECKSUM": "zero", "SLUICE_VERIFY_OUTER_CHECKSUM": "always",
                "SLUICE_ON_ERROR": "forward", "SLUICE_ALLOW_SOURCES": "10.0.0.0/8,192.0.2.1",
                "SLUICE_DRAIN_IDLE": "3", "SLUICE_FLOWS_PER_WORKER": "1024",
            ])
        #expect(options.settings.mtu == 1400)
        #expect(options.mtuIsSet)
        #expect(!options.settings.requireAWSOptions)
        #expect(options.zeroOuterChecksum)
        #expect(options.settings.verifyOuterChecksum == .always)
        #expect(options.settings.forwardsUndecodable)
        let allowed = AddressSet(options.allowedSources)
        #expect(allowed.contains(0x0A01_0203))
        #expect(allowed.contains(0xC000_0201))
        #expect(!allowed.contains(0xC000_0202))
        #expect(options.drain.idle == .seconds(3))
        #expect(options.flowsPerWorker == 1024)
    }

    @Test(
        "a bad value names the flag or variable, and what was found",
        arguments: [
            ("io", "carrier-pigeon"), ("workers", "0"), ("workers", "many"), ("cpus", "3-1"),
            ("cpus", ""), ("health", "8080"), ("health", "localhost:8080"), ("health", "1.2.3.4:0"),
            ("health-tcp", "x"), ("address", "1.2.3"), ("address", "01.2.3.4"),
            ("drain-minimum", "-1"), ("drain-timeout", "forever"), ("steer", "random"),
            ("qdisc-bypass", "1"),
            ("mtu", "67"), ("allow-sources", "10.0.0.0/33"), ("flows-per-worker", "1000"),
            ("busy-poll", "yes"), ("outer-checksum", "none"), ("on-error", "ignore"),
        ])
    func badValues(key: String, value: String) throws {
        let flag = #expect(throws: Failure.self) { try read([key: value]) }
        #expect(flag?.code == .usage)
        #expect(flag?.description.hasPrefix("--\(key): expected ") == true)
        #expect(flag?.description.contains("found '\(value)'") == true)
        let name = "SLUICE_" + key.uppercased().replacing("-", with: "_")
        let variable = #expect(throws: Failure.self) { try read([:], [name: value]) }
        #expect(variable?.code == .config)
        #expect(variable?.description.hasPrefix(name) == true)
    }

    @Test("packets are steered by flow unless told otherwise, and raw cannot do otherwise")
    func steering() throws {
        #expect(try read([:]).steering == .flow)
        #expect(try read(["io": "packet", "steer": "cpu"]).steering == .cpu)
        #expect(try read(["steer": "flow", "io": "raw"]).steering == .flow)
        #expect(try read(["steer": "addresses", "io": "raw"]).steering == .addresses)
        let failure = #expect(throws: Failure.self) { try read(["io": "raw", "steer": "cpu"]) }
        #expect(failure?.code == .usage)
    }

    @Test("the queueing discipline is passed by unless told otherwise")
    func qdisc() throws {
        #expect(try read([:]).bypassesQdisc)
        #expect(try !read([:], ["SLUICE_QDISC_BYPASS": "false"]).bypassesQdisc)
    }

    @Test("two health ports cannot be one")
    func samePort() {
        #expect(throws: Failure.self) {
            try read(["health": "0.0.0.0:8080", "health-tcp": "127.0.0.1:8080"])
        }
    }

    @Test(
        "CPU lists as Linux writes them",
        arguments: [
            ("0", [0]), ("0-3", [0, 1, 2, 3]), ("1-3,7", [1, 2, 3, 7]), ("2,2,1", [2, 1]),
        ])
    func cpuLists(text: String, cpus: [Int]) { #expect(CPUList.parse(text) == cpus) }

    @Test("not CPU lists", arguments: ["", ",", "a", "1-", "-1", "1-2-3", "3-1", "4096"])
    func badCPULists(text: String) { #expect(CPUList.parse(text) == nil) }
}

@Suite("Placement")
struct PlacementTests {
    @Test("one worker per CPU, one CPU left for control when there are more than four")
    func auto() throws {
        #expect(try Placement(workers: nil, cpus: [], allowed: [0, 1]).cpus == [0, 1])
        #expect(try Placement(workers: nil, cpus: [], allowed: [0, 1, 2, 3]).cpus.count == 4)
        #expect(
            try Placement(workers: nil, cpus: [], allowed: Array(0..<8)).cpus == Array(1..<8))
    }

    @Test("workers beyond CPUs share them round-robin")
    func roundRobin() throws {
        #expect(try Placement(workers: 5, cpus: [], allowed: [0, 1]).cpus == [0, 1, 0, 1, 0])
        #expect(try Placement(workers: 3, cpus: [7, 2], allowed: [2, 7]).cpus == [7, 2, 7])
    }

    @Test("a CPU that the process may not use is refused by name")
    func foreign() {
        let failure = #expect(throws: Failure.self) {
            try Placement(workers: nil, cpus: [9], allowed: [0, 1])
        }
        #expect(failure?.description.contains("CPU 9") == true)
    }

    @Test("CPUs near the card come first, and control gets the far end")
    func near() throws {
        let rank: (Int) -> Int = { $0 < 4 ? 1 : 0 }
        #expect(
            try Placement(workers: nil, cpus: [], allowed: Array(0..<8), rank: rank).cpus
                == [4, 5, 6, 7, 1, 2, 3])
        #expect(
            try Placement(workers: 2, cpus: [], allowed: Array(0..<8), rank: rank).cpus == [4, 5])
        #expect(
            try Placement(workers: nil, cpus: [0, 5], allowed: Array(0..<8), rank: rank).cpus
                == [0, 5], "the user's order counts")
    }
}

@Suite("The place of the card")
struct CardPlaceTests {
    /// A made-up /sys and /proc: eth0 on node 1 with two interrupts, ens5 a virtio child of such a
    /// device, dummy0 without one.
    private func withHost(_ body: (String) throws -> Void) throws {
        let root = FileManager.default.temporaryDirectory
            .appending(path: "sluice-card-\(getpid())-\(UInt64.random(in: .min ... .max))")
        defer { try? FileManager.default.removeItem(at: root) }
        func write(_ path: String, _ text: String) throws {
            let file = root.appending(path: path)
            try FileManager.default.createDirectory(
                at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
            try Data(text.utf8).write(to: file)
        }
        try write("sys/class/net/eth0/device/numa_node", "1\n")
        for interrupt in [40, 41] {
            try write("sys/class/net/eth0/device/msi_irqs/\(interrupt)", "msix\n")
            try write("proc/irq/\(interrupt)/smp_affinity_list", "\(interrupt - 36)\n")
        }
        try write("sys/devices/pci/numa_node", "0\n")
        try write("sys/devices/pci/msi_irqs/50", "msix\n")
        try write("proc/irq/50/smp_affinity_list", "2-3\n")
        try write("sys/devices/pci/virtio0/features", "1\n")
        try write("sys/class/net/ens5/address", "02:00:00:00:00:01\n")
        try FileManager.default.createSymbolicLink(
            at: root.appending(path: "sys/class/net/ens5/device"),
            withDestinationURL: root.appending(path: "sys/devices/pci/virtio0"))
        try write("sys/class/net/dummy0/address", "02:00:00:00:00:02\n")
        try body(root.path())
    }

    private func place(_ root: String, _ interfaces: [String]) -> CardPlace {
        CardPlace(interfaces: interfaces, sys: root + "/sys", proc: root + "/proc")
    }

    @Test("nodes and interrupts are read, also of a virtio card")
    func reads() throws {
        try withHost { root in
            #expect(place(root, ["eth0"]).nodes == [1])
            #expect(place(root, ["eth0"]).interruptCPUs == [4, 5])
            #expect(place(root, ["ens5"]).nodes == [0])
            #expect(place(root, ["ens5"]).interruptCPUs == [2, 3])
            #expect(place(root, ["dummy0"]) == CardPlace())
            #expect(place(root, ["eth0", "ens5"]).nodes == [0, 1])
        }
    }

    @Test("the node counts first, then the interrupts: apart from them by flow, with them by CPU")
    func ranks() throws {
        try withHost { root in
            let card = place(root, ["eth0"])
            for steersByCPU in [false, true] {
                let ranks = [(4, 1), (6, 1), (0, 0)].map {
                    card.rank(cpu: $0.0, node: $0.1, steersByCPU: steersByCPU)
                }
                #expect(ranks[2] > ranks[0] && ranks[2] > ranks[1] - 1)
                #expect((ranks[0] < ranks[1]) == steersByCPU)
            }
            let none = place(root, ["dummy0"])
            #expect(Set((0..<8).map { none.rank(cpu: $0, node: 0, steersByCPU: true) }) == [0])
        }
    }
}
