import Logging
import Synchronization
import Testing
import Wire

@testable import Appliance
@testable import RuleEngine

/// Keeps what is logged.
private final class Lines: Sendable {
    let all = Mutex<[String]>([])

    struct Handler: LogHandler {
        let lines: Lines
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.info

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(
            level: Logger.Level, message: Logger.Message, metadata: Logger.Metadata?,
            source: String, file: String, function: String, line: UInt
        ) {
            lines.all.withLock { $0.append("\(message)") }
        }
    }

    var logger: Logger { Logger(label: "test") { _ in Handler(lines: self) } }
    var taken: [String] {
        all.withLock { lines in
            defer { lines = [] }
            return lines
        }
    }
}

@Suite("The rule log")
struct RuleLogTests {
    private let lines = Lines()
    private let event = RuleEvent(
        generation: 1, rule: 0, action: .drop, isDryRun: false, endpoint: 1, version: 4,
        protocolNumber: IPProtocol.udp, source: IPv6Address(0, 0x0A00_0001),
        destination: IPv6Address(0, 0x0A00_0002), sourcePort: 5, destinationPort: 53, length: 30,
        tcpFlags: 0, icmp: -1)

    @Test func `each rule has its own allowance, and what is left out is told once`() {
        var log = RuleLog()
        for _ in 0..<5 { log.write(event, "a", second: 7, most: 2, lines.logger) }
        log.write(event, "b", second: 7, most: 2, lines.logger)
        #expect(lines.taken == ["rule a: drop", "rule a: drop", "rule b: drop"])
        for _ in 0..<2 { log.tellSuppressed([("a", 9), ("b", 1)], lines.logger) }
        #expect(lines.taken == ["rule a: 7 more packets matched, of which no line is written"])
        log.write(event, "a", second: 8, most: 2, lines.logger)
        #expect(lines.taken == ["rule a: drop"])
    }

    @Test func `hits of before a rule logged are not left-out lines`() {
        var log = RuleLog()
        log.follow([("a", 1000)])
        log.write(event, "a", second: 1, most: 2, lines.logger)
        log.tellSuppressed([("a", 1001)], lines.logger)
        #expect(lines.taken == ["rule a: drop"])
        // It stops logging, is hit, and logs again.
        log.follow([])
        log.follow([("a", 5000)])
        log.tellSuppressed([("a", 5003)], lines.logger)
        #expect(lines.taken == ["rule a: 3 more packets matched, of which no line is written"])
    }
}
