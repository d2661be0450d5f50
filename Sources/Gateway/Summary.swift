import Verification
import Wire

extension GatewayEmulator {
    /// What happened, as one JSON object.
    /// - Parameter more: further counters, appended under their names.
    public func summary(_ more: [(name: String, value: UInt64)] = []) -> String {
        let kinds = Violation.allCases.map { "    \"\($0.rawValue)\": \(violations[$0])" }
        let targets = group.targets.map { target in
            "    {\"address\": \"\(IPv4Address.format(target.address))\", "
                + "\"state\": \"\(target.state.rawValue)\", "
                + "\"sent\": \(target.sent), \"received\": \(target.received)}"
        }
        let counts: [(name: String, value: UInt64)] = [
            ("encapsulated", counters.encapsulated),
            ("delivered", counters.delivered),
            ("expected_drops", expectedDrops),
            ("lost_to_unhealthy", counters.lostToUnhealthy),
            ("flows", flowsCreated),
            ("tcp_resets", counters.resets),
            ("ignored", counters.ignored),
            ("too_big", counters.tooBig),
            ("send_refused", counters.refused),
        ]
        let lines = (counts + more).map { "  \"\($0.name)\": \($0.value)" }
        return "{\n" + lines.joined(separator: ",\n") + ",\n"
            + "  \"violations\": {\n" + kinds.joined(separator: ",\n") + "\n  },\n"
            + "  \"targets\": [\n" + targets.joined(separator: ",\n") + "\n  ]\n}\n"
    }
}
