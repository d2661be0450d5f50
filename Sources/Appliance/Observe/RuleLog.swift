import Configuration
import Logging
import RuleEngine
import Wire

/// The lines of the action log: an event with its fields, no more than the allowance of its rule,
/// and how many were left out, by rule.
struct RuleLog {
    private struct Account {
        /// Hits of the time when the rule did not log.
        let base: UInt64
        var logged: UInt64 = 0
        var told: UInt64 = 0
        /// Lines in the current second.
        var second: UInt64 = 0
        var lines = 0
    }

    private static let mostTold = 20
    /// Of the rules that log, by name.
    private var accounts: [String: Account] = [:]

    /// - Parameters:
    ///   - rule: its name; nil when the generation that had it is gone.
    ///   - second: of the clock.
    ///   - most: lines a second.
    mutating func write(
        _ event: RuleEvent, _ rule: String?, second: UInt64, most: Int, _ log: Logger
    ) {
        let name = rule ?? "?"
        var account = accounts[name] ?? Account(base: 0)
        if account.second != second { (account.second, account.lines) = (second, 0) }
        if account.lines < most {
            account.lines += 1
            account.logged += 1
            let fields = RuleLog.fields(event, name)
            log.info("rule \(name): \(RuleLog.verdict(event))", metadata: fields)
        }
        accounts[name] = account
    }

    /// After a reload, with the hits until then: a rule that logs from now on begins anew.
    mutating func follow(_ hits: [(name: String, hits: UInt64)]) {
        accounts = Dictionary(
            hits.map { ($0.name, accounts[$0.name] ?? Account(base: $0.hits)) }
        ) { first, _ in first }
    }

    /// Tells what was left out since the last time.
    ///
    /// - Parameter hits: of the rules that log, read before the last event was taken.
    mutating func tellSuppressed(_ hits: [(name: String, hits: UInt64)], _ log: Logger) {
        var others = 0
        var told = 0
        for (name, hits) in hits {
            var account = accounts[name] ?? Account(base: 0)
            let known = account.base + account.logged + account.told
            guard hits > known else { continue }
            account.told += hits - known
            accounts[name] = account
            guard told < RuleLog.mostTold else {
                others += 1
                continue
            }
            told += 1
            log.info(
                "rule \(name): \(hits - known) more packets matched, of which no line is written",
                metadata: ["rule": "\(name)", "suppressed": .stringConvertible(hits - known)])
        }
        if others > 0 { log.info("lines of \(others) more rules are left out") }
    }

    private static func verdict(_ event: RuleEvent) -> String {
        "\(event.action)\(event.isDryRun ? " (dry run)" : "")"
    }

    private static func fields(_ event: RuleEvent, _ rule: String) -> Logger.Metadata {
        let hasPorts =
            [IPProtocol.udp, IPProtocol.tcp].contains(event.protocolNumber)
            && (event.sourcePort != 0 || event.destinationPort != 0)
        var fields: Logger.Metadata = [
            "rule": "\(rule)", "verdict": "\(event.action)",
            "source": "\(PacketWords.address(event.source, version: event.version))",
            "destination": "\(PacketWords.address(event.destination, version: event.version))",
            "protocol": "\(ProtocolNames.name(event.protocolNumber))",
            "endpoint": "\(EndpointID.format(event.endpoint))",
            "length": .stringConvertible(event.length),
            "generation": .stringConvertible(event.generation),
        ]
        if event.isDryRun { fields["dry_run"] = .stringConvertible(true) }
        if hasPorts {
            fields["source_port"] = .stringConvertible(event.sourcePort)
            fields["destination_port"] = .stringConvertible(event.destinationPort)
        }
        if event.protocolNumber == IPProtocol.tcp, hasPorts {
            fields["tcp_flags"] = .array(PacketWords.flags(event.tcpFlags).map { "\($0)" })
        }
        if event.icmp >= 0 {
            fields["icmp_type"] = .stringConvertible(event.icmp >> 8)
            fields["icmp_code"] = .stringConvertible(event.icmp & 0xFF)
        }
        return fields
    }
}
