import Dataplane

/// One match, taken apart by the tables that look at it. Of a table nil: the rule does not ask it.
struct CompiledMatch {
    let needs: Needs
    private(set) var endpoints: [UInt64]?
    private(set) var source: Addresses?
    private(set) var destination: Addresses?
    private(set) var address: Addresses?
    private(set) var sourcePorts: [ClosedRange<UInt128>]?
    private(set) var destinationPorts: [ClosedRange<UInt128>]?
    private(set) var ports: [ClosedRange<UInt128>]?
    private(set) var tcpFlags: Match.TCPFlags?
    private(set) var fragment: Match.Fragment?
    private(set) var payload: Match.Payload?
    private(set) var lengths: [ClosedRange<UInt16>]?
    /// Fields of the IP header that are looked at rule by rule, all of which must hold.
    private(set) var headerChecks: [HeaderCheck] = []
    /// What else is.
    private(set) var checks = CompiledRule()
    private(set) var isLimited = false

    /// Ranges by IP version.
    struct Addresses {
        var v4: [ClosedRange<UInt128>]
        var v6: [ClosedRange<UInt128>]

        init(_ ranges: [AddressRange]) {
            v4 = ranges.filter { !$0.isIPv6 }.map { $0.first...$0.last }
            v6 = ranges.filter { $0.isIPv6 }.map { $0.first...$0.last }
        }
    }

    init(_ match: Match) {
        needs = match.needs
        for condition in match.conditions { add(condition) }
    }

    private mutating func add(_ condition: Match.Condition) {
        switch condition {
        case .protocols, .version: break  // The table of protocols is made of the needs.
        case .source(let ranges): source = Addresses(ranges)
        case .destination(let ranges): destination = Addresses(ranges)
        case .address(let ranges): address = Addresses(ranges)
        case .sourcePorts(let ranges): sourcePorts = CompiledMatch.wide(ranges)
        case .destinationPorts(let ranges): destinationPorts = CompiledMatch.wide(ranges)
        case .ports(let ranges): ports = CompiledMatch.wide(ranges)
        case .endpoints(let list): endpoints = list
        case .tcpFlags(let flags): tcpFlags = flags
        case .icmp(let icmp):
            checks.icmp = icmp
            checks.asks.insert(.icmp)
        case .payload(let strings): payload = strings
        case .lengths(let ranges):
            lengths = ranges
            checks.asks.insert(.lengths)
        case .ttl(let wanted):
            addCheck(HeaderCheck(v4: (8, 8), v6: (6, 0), mask: 0xFF, wanted))
        case .dscp(let wanted):
            addCheck(HeaderCheck(v4: (0, 2), v6: (0, 6), mask: 0x3F, wanted))
        case .fragment(let kind):
            fragment = kind
            checks.isAboutFragments = kind == .later || kind == .any
        case .flow(let state):
            checks.flow = state
            checks.asks.insert(.flow)
        case .sample(let every):
            checks.sampleEvery = every
            checks.asks.insert(.sample)
        case .rate: isLimited = true
        }
    }

    private mutating func addCheck(_ check: HeaderCheck) {
        headerChecks.append(check)
        checks.asks.insert(.header)
    }

    private static func wide(_ ranges: [ClosedRange<UInt16>]) -> [ClosedRange<UInt128>] {
        ranges.map { UInt128($0.lowerBound)...UInt128($0.upperBound) }
    }

    // ---- What tables ask.

    var asksPorts: Bool { ports != nil || sourcePorts != nil || destinationPorts != nil }

    func allows(tcpFlags flags: UInt8?) -> Bool {
        guard let tcpFlags else { return true }
        return flags.map(tcpFlags.holds) ?? false
    }

    func allows(_ kind: FragmentKind) -> Bool { fragment?.holds(kind) ?? true }

    var properties: CompiledPolicy.Properties {
        var properties: CompiledPolicy.Properties = []
        if tcpFlags != nil { properties.insert(.tcpFlags) }
        if fragment != nil { properties.insert(.fragments) }
        if endpoints != nil { properties.insert(.endpoints) }
        if sourcePorts != nil { properties.insert(.sourcePorts) }
        if destinationPorts != nil { properties.insert(.destinationPorts) }
        if ports != nil { properties.insert(.ports) }
        if source != nil { properties.insert(.source) }
        if destination != nil { properties.insert(.destination) }
        if address != nil { properties.insert(.address) }
        return properties
    }

    /// Rules of one kind get neighbouring bits, those that ask for payload strings the last ones:
    /// whether the payload must be searched is known when all others have been looked at.
    var kind: Int {
        let asks = [
            payload != nil, endpoints != nil, source != nil, destination != nil, address != nil,
            sourcePorts != nil, destinationPorts != nil, ports != nil, tcpFlags != nil,
            checks.asks.contains(.icmp), fragment != nil, checks.asks.contains(.flow),
            checks.asks.contains(.sample),
        ]
        return asks.reduce(0) { $0 << 1 | ($1 ? 1 : 0) }
    }
}

extension Match.TCPFlags {
    func holds(_ flags: UInt8) -> Bool { flags & set == set && flags & clear == 0 }
}
