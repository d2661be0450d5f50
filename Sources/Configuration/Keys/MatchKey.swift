import Dataplane
import RuleEngine
import Support

/// A key of `match`, with the value that a rule gives it: all that the control side knows of it.
/// What a packet must be to meet it is `Match.Condition.needs`.
protocol MatchKey {
    static var key: Match.Key { get }
    /// What it asks of a packet, in whole sentences.
    static var help: String { get }
    /// What may stand behind it.
    static var values: String { get }
    /// As in a file, behind `match:`.
    static var example: String { get }
    /// What may stand behind it, as JSON Schema.
    static var schema: JSONValue { get }
    /// Nil where nothing is asked, and after noting what is wrong.
    ///
    /// - Parameter folder: where `@file` is looked up.
    static func read(_ field: ConfigField, folder: SetFolder) -> Match.Condition?

    /// The condition in plain words.
    var words: String { get }
    /// Every packet that `other` matches meets this condition. May say no where the answer is yes.
    func covers(_ other: Match) -> Bool
    /// Why it cannot hold together with the rest of the match; nil when it can, or when what it
    /// needs says it already.
    func contradiction(in match: Match) -> String?
}

/// The keys in order: of the reader, of words and of the reference.
enum MatchKeys {
    static var all: [any MatchKey.Type] { Match.Key.allCases.map(\.type) }

    static var names: [String] { Match.Key.allCases.map(\.rawValue) }

    /// Reads all conditions of a match.
    static func read(_ fields: [String: ConfigField], folder: SetFolder) -> Match {
        Match(
            all.compactMap { type in
                fields[type.key.rawValue].flatMap { type.read($0, folder: folder) }
            })
    }
}

extension Match.Key {
    var type: any MatchKey.Type {
        switch self {
        case .protocols: ProtocolKey.self
        case .version: VersionKey.self
        case .source: SourceKey.self
        case .destination: DestinationKey.self
        case .address: AddressKey.self
        case .sourcePorts: SourcePortKey.self
        case .destinationPorts: DestinationPortKey.self
        case .ports: PortKey.self
        case .endpoints: EndpointKey.self
        case .tcpFlags: TCPFlagsKey.self
        case .icmp: ICMPKey.self
        case .payload: PayloadKey.self
        case .lengths: LengthKey.self
        case .ttl: TTLKey.self
        case .dscp: DSCPKey.self
        case .fragment: FragmentKey.self
        case .flow: FlowStateKey.self
        case .not: NotKey.self
        case .sample: SampleKey.self
        case .rate: RateKey.self
        }
    }
}

extension Match.Condition {
    /// The condition as its key of the file.
    var written: any MatchKey {
        switch self {
        case .protocols(let value): ProtocolKey(protocols: value)
        case .version(let value): VersionKey(version: value)
        case .source(let value): SourceKey(ranges: value)
        case .destination(let value): DestinationKey(ranges: value)
        case .address(let value): AddressKey(ranges: value)
        case .sourcePorts(let value): SourcePortKey(ranges: value)
        case .destinationPorts(let value): DestinationPortKey(ranges: value)
        case .ports(let value): PortKey(ranges: value)
        case .endpoints(let value): EndpointKey(endpoints: value)
        case .tcpFlags(let value): TCPFlagsKey(flags: value)
        case .icmp(let value): ICMPKey(icmp: value)
        case .payload(let value): PayloadKey(payload: value)
        case .lengths(let value): LengthKey(ranges: value)
        case .ttl(let value): TTLKey(ttl: value)
        case .dscp(let value): DSCPKey(dscp: value)
        case .fragment(let value): FragmentKey(fragment: value)
        case .flow(let value): FlowStateKey(flow: value)
        case .not(let value): NotKey(refused: value)
        case .sample(let value): SampleKey(every: value)
        case .rate(let value): RateKey(rate: value)
        }
    }
}

extension Match {
    /// Every packet that `other` matches, this matches too. May say no where the answer is yes.
    func covers(_ other: Match) -> Bool {
        conditions.allSatisfy { $0.written.covers(other) }
    }

    /// Its conditions in plain words.
    var words: [String] { conditions.map(\.written.words) }
}
