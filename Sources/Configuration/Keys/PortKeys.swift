import Dataplane
import RuleEngine
import Support

/// `source-port`, `destination-port` and `port`.
protocol PortMatchKey: MatchKey {
    static var condition: ([ClosedRange<UInt16>]) -> Match.Condition { get }
    var ranges: [ClosedRange<UInt16>] { get }
}

extension PortMatchKey {
    static var values: String { "a number from 0 to 65535, a range such as 1000-2000, or a list" }
    static var schema: JSONValue { Schema.reference("ports") }

    static func read(_ field: ConfigField, folder: SetFolder) -> Match.Condition? {
        field.ranges("a port", 0...UInt16.max, such: "1000-2000").map(condition)
    }
}

struct SourcePortKey: PortMatchKey {
    let ranges: [ClosedRange<UInt16>]

    static let key = Match.Key.sourcePorts
    static let help = "The source port of UDP or TCP. Later fragments have none."
    static let example = "{ source-port: 53 }"
    static let condition = Match.Condition.sourcePorts

    var words: String { "source port \(Words.numbers(ranges))" }
    func covers(_ other: Match) -> Bool { Shadows.contains(ranges, other.sourcePorts) }
    func contradiction(in match: Match) -> String? { nil }
}

struct DestinationPortKey: PortMatchKey {
    let ranges: [ClosedRange<UInt16>]

    static let key = Match.Key.destinationPorts
    static let help = "The destination port of UDP or TCP. Later fragments have none."
    static let example = "{ destination-port: [80, 443, 8000-8099] }"
    static let condition = Match.Condition.destinationPorts

    var words: String { "destination port \(Words.numbers(ranges))" }
    func covers(_ other: Match) -> Bool { Shadows.contains(ranges, other.destinationPorts) }
    func contradiction(in match: Match) -> String? { nil }
}

struct PortKey: PortMatchKey {
    let ranges: [ClosedRange<UInt16>]

    static let key = Match.Key.ports
    static let help = "The source or destination port of UDP or TCP. Later fragments have none."
    static let example = "{ port: 3000-3001 }"
    static let condition = Match.Condition.ports

    var words: String { "port \(Words.numbers(ranges))" }

    func covers(_ other: Match) -> Bool {
        [other.ports, other.sourcePorts, other.destinationPorts]
            .contains { Shadows.contains(ranges, $0) }
    }

    func contradiction(in match: Match) -> String? {
        func meet(_ others: [ClosedRange<UInt16>]) -> Bool {
            others.contains { other in ranges.contains { $0.overlaps(other) } }
        }
        guard let sources = match.sourcePorts, let destinations = match.destinationPorts,
            !meet(sources), !meet(destinations)
        else { return nil }
        return "neither source-port nor destination-port has a port of port"
    }
}
