import Dataplane

/// One match, taken apart by the tables that look at it. Of a table nil: the rule does not ask it.
struct CompiledMatch {
    let needs: Needs
    private(set) var endpoints: [UInt64]?
    private(set) var refusedEndpoints: [UInt64] = []
    private(set) var source: Addresses?
    private(set) var destination: Addresses?
    private(set) var address: Addresses?
    private(set) var sourcePorts: [ClosedRange<UInt128>]?
    private(set) var destinationPorts: [ClosedRange<UInt128>]?
    private(set) var ports: [ClosedRange<UInt128>]?
    /// It asks for a port, which not every packet has.
    private(set) var asksPorts = false
    private(set) var tcpFlags: Match.TCPFlags?
    private(set) var refusedTCPFlags: Match.TCPFlags?
    private(set) var fragment: Match.Fragment?
    private(set) var refusedFragment: Match.Fragment?
    private(set) var payload: Match.Payload?
    private(set) var lengths: [ClosedRange<UInt128>]?
    private(set) var refusedICMP: Match.ICMP?
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

        /// What is left of `ranges`, nil being all, without others.
        init(_ ranges: Addresses?, without refused: [AddressRange]) {
            let refused = Addresses(refused)
            v4 = IntervalSet.subtract(refused.v4, from: ranges?.v4, last: 0xFFFF_FFFF)
            v6 = IntervalSet.subtract(refused.v6, from: ranges?.v6, last: .max)
        }
    }

    init(_ match: Match) {
        needs = match.needs
        for condition in match.conditions { add(condition) }
        for condition in match.not?.conditions ?? [] { refuse(condition) }
        checks.decidesLaterFragments = allows(.later) && !allows(.whole)
    }

    private mutating func add(_ condition: Match.Condition) {
        switch condition {
        case .protocols, .version: break  // The table of protocols is made of the needs.
        case .source(let ranges): source = Addresses(ranges)
        case .destination(let ranges): destination = Addresses(ranges)
        case .address(let ranges): address = Addresses(ranges)
        case .sourcePorts(let ranges):
            sourcePorts = IntervalSet.wide(ranges)
            asksPorts = true
        case .destinationPorts(let ranges):
            destinationPorts = IntervalSet.wide(ranges)
            asksPorts = true
        case .ports(let ranges):
            ports = IntervalSet.wide(ranges)
            asksPorts = true
        case .endpoints(let list): endpoints = list
        case .tcpFlags(let flags): tcpFlags = flags
        case .icmp(let icmp):
            checks.icmp = icmp
            checks.asks.insert(.icmp)
        case .payload(let strings): payload = strings
        case .lengths(let ranges):
            lengths = IntervalSet.wide(ranges)
            checks.asks.insert(.lengths)
        case .ttl(let wanted):
            addCheck(.ttl(wanted))
        case .dscp(let wanted):
            addCheck(.dscp(wanted))
        case .fragment(let kind): fragment = kind
        case .flow(let states):
            checks.flow = states
            checks.asks.insert(.flow)
        case .sample(let every):
            checks.sampleEvery = every
            checks.asks.insert(.sample)
        case .rate: isLimited = true
        case .not: break  // Refused when all others are known.
        }
    }

    /// Takes away what a condition in `not` would match.
    private mutating func refuse(_ condition: Match.Condition) {
        switch condition {
        case .protocols, .version: break  // As above.
        case .source(let ranges): source = Addresses(source, without: ranges)
        case .destination(let ranges): destination = Addresses(destination, without: ranges)
        case .address(let ranges):
            source = Addresses(source, without: ranges)
            destination = Addresses(destination, without: ranges)
        case .sourcePorts(let ranges):
            sourcePorts = CompiledMatch.ports(sourcePorts, without: ranges)
        case .destinationPorts(let ranges):
            destinationPorts = CompiledMatch.ports(destinationPorts, without: ranges)
        case .ports(let ranges):
            sourcePorts = CompiledMatch.ports(sourcePorts, without: ranges)

            destinationPorts = CompiledMatch.ports(destinationPorts, without: ranges)
        case .endpoints(let list):
            if endpoints != nil {
                endpoints?.removeAll { list.contains($0) }
            } else {
                refusedEndpoints = list
            }
        case .tcpFlags(let flags): refusedTCPFlags = flags
        case .icmp(let icmp):
            refusedICMP = icmp
            checks.asks.insert(.refusedICMP)
        case .lengths(let ranges):
            lengths = IntervalSet.subtract(IntervalSet.wide(ranges), from: lengths, last: 0xFFFF)
            checks.asks.insert(.lengths)
        case .ttl(let values):
            addCheck(.ttl(values.inverted))
        case .dscp(let values):
            addCheck(.dscp(values.inverted))
        case .fragment(let kind): refusedFragment = kind
        case .flow(let states):
            checks.flow = (checks.flow ?? .all).subtracting(states)
            checks.asks.insert(.flow)
        case .payload, .sample, .rate, .not: break  // Policy.excess has refused them.
        }
    }

    /// A packet without ports has none of those refused.
    private static func ports(
        _ ranges: [ClosedRange<UInt128>]?, without refused: [ClosedRange<UInt16>]
    ) -> [ClosedRange<UInt128>] {
        IntervalSet.subtract(IntervalSet.wide(refused), from: ranges, last: 0xFFFF)
    }

    private mutating func addCheck(_ check: HeaderCheck) {
        headerChecks.append(check)
        checks.asks.insert(.header)
    }

    // ---- What tables ask.

    func allows(tcpFlags flags: UInt8?) -> Bool {
        func holds(_ wanted: Match.TCPFlags) -> Bool { flags.map(wanted.holds) ?? false }
        return (tcpFlags.map(holds) ?? true) && !(refusedTCPFlags.map(holds) ?? false)
    }

    func allows(_ kind: FragmentKind) -> Bool {
        (fragment?.holds(kind) ?? true) && !(refusedFragment?.holds(kind) ?? false)
    }

    private var asksTCPFlags: Bool { tcpFlags != nil || refusedTCPFlags != nil }
    private var asksFragments: Bool { fragment != nil || refusedFragment != nil }
    private var asksEndpoints: Bool { endpoints != nil || !refusedEndpoints.isEmpty }

    var properties: CompiledPolicy.Properties {
        var properties: CompiledPolicy.Properties = []
        if asksTCPFlags { properties.insert(.tcpFlags) }
        if asksFragments { properties.insert(.fragments) }
        if asksEndpoints { properties.insert(.endpoints) }
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
            payload != nil, asksEndpoints, source != nil, destination != nil, address != nil,
            sourcePorts != nil, destinationPorts != nil, ports != nil, asksTCPFlags,
            checks.asks.contains(.icmp), asksFragments, checks.asks.contains(.flow),
            checks.asks.contains(.sample),
        ]
        return asks.reduce(0) { $0 << 1 | ($1 ? 1 : 0) }
    }
}

extension Match.TCPFlags {
    func holds(_ flags: UInt8) -> Bool { flags & set == set && flags & clear == 0 }
}
