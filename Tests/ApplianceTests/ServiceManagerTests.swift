import CSluice
import Foundation
import Support
import Testing

@testable import Appliance

/// The service manager's end: a datagram socket, as systemd has one.
private final class Listener {
    let name: String
    private let descriptor: Int32

    init(abstract: Bool) throws {
        let unique = "sluice-notify-\(UUID().uuidString)"
        name = abstract ? "@" + unique : NSTemporaryDirectory() + "/" + unique
        descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_NONBLOCK.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let bytes = [UInt8](name.utf8)
        withUnsafeMutableBytes(of: &address.sun_path) { path in
            path.copyBytes(from: bytes)
            if abstract { path[0] = 0 }
        }
        let size = MemoryLayout<sa_family_t>.size + bytes.count
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, socklen_t(size))
            }
        }
        try #require(result == 0)
    }

    deinit {
        close(descriptor)
        unlink(name)
    }

    /// What came since the last look.
    func messages() -> [String] {
        var found: [String] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = recv(descriptor, &buffer, buffer.count, 0)
            guard count > 0 else { return found }
            found.append(String(decoding: buffer.prefix(count), as: UTF8.self))
        }
    }
}

@Suite("Service manager")
struct ServiceManagerTests {
    @Test("ready is said once, and stopping once", arguments: [false, true])
    func states(abstract: Bool) throws {
        let systemd = try Listener(abstract: abstract)
        var manager = ServiceManager(socket: systemd.name, watchdog: nil)
        #expect(systemd.messages() == [])
        manager.note(.healthy, "fine")
        #expect(systemd.messages() == ["READY=1\nSTATUS=fine"])
        manager.note(.stuck(workers: [0]), "stuck")
        manager.note(.healthy, "fine")
        #expect(systemd.messages() == ["STATUS=stuck", "STATUS=fine"])
        manager.note(.draining, "draining")
        manager.noteStopping("stopping")
        #expect(systemd.messages() == ["STOPPING=1\nSTATUS=draining"])
    }

    @Test("a reload tells its time and ends with ready, but says nothing before the first ready")
    func reload() throws {
        let systemd = try Listener(abstract: false)
        var manager = ServiceManager(socket: systemd.name, watchdog: nil)
        manager.noteReloading(now: second)
        manager.noteReloaded("fine")
        #expect(systemd.messages() == [])
        manager.note(.healthy, "fine")
        _ = systemd.messages()
        manager.noteReloading(now: 3 * second)
        manager.noteReloaded("as before")
        #expect(
            systemd.messages() == [
                "RELOADING=1\nMONOTONIC_USEC=3000000\nSTATUS=reloading",
                "READY=1\nSTATUS=as before",
            ])
    }

    @Test("the watchdog hears of progress twice in its time, and of a stuck worker nothing")
    func watchdog() throws {
        let systemd = try Listener(abstract: false)
        var manager = ServiceManager(socket: systemd.name, watchdog: 10 * second)
        var pings = 0
        for tenth in 1000..<2000 {
            manager.ping(now: UInt64(tenth) * second / 10, workersMakeProgress: true)
            pings += systemd.messages().count
        }
        #expect(pings == 20)
        manager.ping(now: 1000 * second, workersMakeProgress: false)
        #expect(systemd.messages() == [])
        manager.ping(now: 1001 * second, workersMakeProgress: true)
        #expect(systemd.messages() == ["WATCHDOG=1"])
    }

    @Test("what finds no room is said later, in order")
    func fullSocket() throws {
        let systemd = try Listener(abstract: false)
        var manager = ServiceManager(socket: systemd.name, watchdog: nil)
        // More than net.unix.max_dgram_qlen, fewer than are kept.
        let words = (0..<60).map { "word \($0)" }
        manager.note(.healthy, "first")
        for word in words { manager.note(.healthy, word) }
        var heard = systemd.messages()
        #expect(heard.count < 61)
        for _ in 0..<61 {
            manager.ping(now: second, workersMakeProgress: false)
            heard += systemd.messages()
        }
        #expect(heard == ["READY=1\nSTATUS=first"] + words.map { "STATUS=" + $0 })
    }

    @Test("without a manager, or with one that is gone, nothing happens")
    func nobody() throws {
        let tooLong = String(repeating: "x", count: 200)
        for name in [nil, "", "/nowhere/at/all", "@sluice-nobody", tooLong] {
            var manager = ServiceManager(socket: name, watchdog: second)
            manager.note(.healthy, "fine")
            manager.ping(now: second, workersMakeProgress: true)
        }
        var manager: ServiceManager
        do {
            let systemd = try Listener(abstract: false)
            manager = ServiceManager(socket: systemd.name, watchdog: second)
        }
        manager.note(.healthy, "fine")
        manager.ping(now: second, workersMakeProgress: true)
    }
}
