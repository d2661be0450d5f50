import Wire

/// One policy as flat tables.
///
/// Each rule is a bit. For every property of a packet a table gives the *row*: the bits of all
/// rules that this property allows. The AND of a packet's rows are the rules that match it, up to
/// what is checked rule by rule (ICMP, length, payload). A row begins with a summary, one bit per
/// word that is not zero, so that the cost grows with what can match: rules of the same kind have
/// neighbouring bits, and a packet whose port no rule names skips all port rules at once.
///
/// Not copyable: it is large, and used where it lies.
struct CompiledPolicy: ~Copyable {
    let dropsByDefault: Bool
    let dropsUnknownTCP: Bool
    let forwardsUndecodable: Bool
    let fragments: Policy.Fragments
    let ruleCount: Int
    /// Hit counter of the first rule.
    let firstHit: Int
    /// Words of the summary, and of the bits behind it.
    let summaryCount: Int
    let wordCount: Int

    let words: Table<UInt64>
    /// The row in which every rule stands.
    let everyRule: Int
    /// The row of rules that ask for no port.
    let portless: Int
    let properties: Properties
    /// By protocol number, those of IPv6 packets behind those of IPv4.
    let protocols: Table<UInt32>
    /// By TCP flags; the last is for packets without.
    let tcpFlags: Table<UInt32>
    /// Whole packet, first fragment, later fragment.
    let fragmentKinds: Table<UInt32>
    let endpoints: EndpointTable
    let sourcePorts: PortTable
    let destinationPorts: PortTable
    let ports: PortTable
    let source: AddressTable
    let destination: AddressTable
    let address: AddressTable

    /// The rule of a bit.
    let order: Table<UInt32>
    let rules: Table<CompiledRule>
    let lengths: Table<LengthRange>
    let strings: Table<ByteString>
    let bytes: Table<UInt8>
    let replacements: Table<CompiledReplacement>

    /// Properties that some rule asks for.
    struct Properties: OptionSet, BitwiseCopyable {
        let rawValue: UInt16
        static let tcpFlags = Properties(rawValue: 1)
        static let fragments = Properties(rawValue: 2)
        static let endpoints = Properties(rawValue: 4)
        static let sourcePorts = Properties(rawValue: 8)
        static let destinationPorts = Properties(rawValue: 16)
        static let ports = Properties(rawValue: 32)
        static let source = Properties(rawValue: 64)
        static let destination = Properties(rawValue: 128)
        static let address = Properties(rawValue: 256)
    }
}

struct AddressTable: BitwiseCopyable {
    let v4: IntervalTable<UInt32>
    let v6: IntervalTable<UInt128>

    @inline(__always)
    func row(_ address: IPv6Address, isIPv6: Bool) -> Int {
        isIPv6
            ? v6.row(UInt128(address.high) &<< 64 | UInt128(address.low))
            : v4.row(UInt32(truncatingIfNeeded: address.low))
    }
}

/// What is left of a rule: what the rows do not say, and what to do.
struct CompiledRule: BitwiseCopyable {
    var terminal: Rule.Terminal?
    var isLogged = false
    var isDryRun = false
    /// It asks for fragments.
    var isAboutFragments = false
    /// Something is left to check.
    var isConditional = false
    var icmp: Match.ICMP?
    var flow: Match.Flow?
    /// 0 = no sampling.
    var sampleEvery: UInt32 = 0
    var ignoresCase = false
    /// From `first` up to `end` of `lengths`, `strings`, `replacements`.
    var lengths = Slice()
    var strings = Slice()
    var replacements = Slice()

    struct Slice: BitwiseCopyable {
        var first: UInt32 = 0
        var end: UInt32 = 0
        @inline(__always) var isEmpty: Bool { first == end }
    }
}

struct LengthRange: BitwiseCopyable {
    var lowest: UInt16
    var highest: UInt16
}

/// Some of a policy's `bytes`.
struct ByteString: BitwiseCopyable {
    var start: UInt32
    var count: UInt32
}

struct CompiledReplacement: BitwiseCopyable {
    var find: ByteString
    var with: ByteString
}

extension CompiledPolicy {
    /// - Parameter firstHit: the hit counter of the policy's first rule.
    init(_ policy: Policy, firstHit: Int, _ memory: TableMemory) {
        var rows = RowPool(policy.rules)
        let matches = rows.order.map { policy.rules[$0].match }

        let everyRule = Int(rows.row { _ in true })
        self.everyRule = everyRule
        portless = Int(
            rows.row {
                matches[$0].sourcePorts == nil && matches[$0].destinationPorts == nil
                    && matches[$0].ports == nil
            })
        var properties: Properties = []
        func note(_ property: Properties, _ isAsked: (Match) -> Bool) {
            if matches.contains(where: isAsked) { properties.insert(property) }
        }
        note(.tcpFlags) { $0.tcpFlags != nil }
        note(.fragments) { $0.fragment != nil }
        note(.endpoints) { $0.endpoints != nil }
        note(.sourcePorts) { $0.sourcePorts != nil }
        note(.destinationPorts) { $0.destinationPorts != nil }
        note(.ports) { $0.ports != nil }
        note(.source) { $0.source != nil }
        note(.destination) { $0.destination != nil }
        note(.address) { $0.address != nil }
        self.properties = properties

        // Numbers that no rule names, and that have no ports and no ICMP, are all alike.
        let named = Set(matches.flatMap { $0.protocols?.members ?? [] })
            .union([IPProtocol.udp, IPProtocol.tcp, IPProtocol.icmp, IPProtocol.icmpv6])
        let other = (UInt8(0)...255).first { !named.contains($0) } ?? 0
        protocols = memory.table(
            ([4, 6] as [UInt8]).flatMap { version in
                let others = rows.row { matches[$0].allows(version: version, protocol: other) }
                return (UInt8(0)...255).map { number in
                    guard named.contains(number) else { return others }
                    return rows.row { matches[$0].allows(version: version, protocol: number) }
                }
            })
        tcpFlags = memory.table(
            (0...256).map { flags in
                guard properties.contains(.tcpFlags) else { return UInt32(everyRule) }
                return rows.row {
                    matches[$0].allows(tcpFlags: flags < 256 ? UInt8(flags) : nil)
                }
            })
        fragmentKinds = memory.table(
            [FragmentKind.whole, .first, .later].map { kind in
                rows.row { matches[$0].allows(kind) }
            })
        var byEndpoint: [UInt64: UInt32] = [:]
        for endpoint in Set(matches.flatMap { $0.endpoints ?? [] }) {
            byEndpoint[endpoint] = rows.row { matches[$0].endpoints?.contains(endpoint) ?? true }
        }
        endpoints = EndpointTable(
            byEndpoint, other: rows.row { matches[$0].endpoints == nil }, memory)

        func portTable(_ field: (Match) -> [ClosedRange<UInt16>]?) -> PortTable {
            let ranges = matches.map { match in
                field(match)?.map { UInt128($0.lowerBound)...UInt128($0.upperBound) }
            }
            return PortTable(rows.intervals(ranges, last: 0xFFFF), memory)
        }
        sourcePorts = portTable(\.sourcePorts)
        destinationPorts = portTable(\.destinationPorts)
        ports = portTable(\.ports)

        func addressTable(_ field: (Match) -> [AddressRange]?) -> AddressTable {
            func intervals(isIPv6: Bool, last: UInt128) -> [(start: UInt128, row: UInt32)] {
                rows.intervals(
                    matches.map { match in
                        field(match)?.filter { $0.isIPv6 == isIPv6 }.map { $0.first...$0.last }
                    }, last: last)
            }
            return AddressTable(
                v4: IntervalTable(intervals(isIPv6: false, last: 0xFFFF_FFFF), memory),
                v6: IntervalTable(intervals(isIPv6: true, last: .max), memory))
        }
        source = addressTable(\.source)
        destination = addressTable(\.destination)
        address = addressTable(\.address)

        var actions = ActionTables()
        rules = memory.table(policy.rules.map { actions.add($0) })
        lengths = memory.table(actions.lengths)
        strings = memory.table(actions.strings)
        bytes = memory.table(actions.bytes)
        replacements = memory.table(actions.replacements)

        order = memory.table(rows.order.map { UInt32($0) })
        words = memory.table(rows.words)
        summaryCount = rows.summaryCount
        wordCount = rows.wordCount
        ruleCount = policy.rules.count
        self.firstHit = firstHit
        dropsByDefault = policy.dropsByDefault
        dropsUnknownTCP = policy.dropsUnknownTCP
        forwardsUndecodable = policy.forwardsUndecodable
        fragments = policy.fragments
    }
}

enum FragmentKind: Int, BitwiseCopyable { case whole, first, later }

extension Match {
    /// Every condition that only some protocols can meet counts here.
    fileprivate func allows(version: UInt8, protocol number: UInt8) -> Bool {
        if let wanted = self.version, wanted != version { return false }
        if let protocols, !protocols.contains(number) { return false }
        if tcpFlags != nil, number != IPProtocol.tcp { return false }
        if icmp != nil, number != (version == 4 ? IPProtocol.icmp : IPProtocol.icmpv6) {
            return false
        }
        let hasPorts = number == IPProtocol.udp || number == IPProtocol.tcp
        let needsPorts =
            ports != nil || sourcePorts != nil || destinationPorts != nil || payload != nil
        return hasPorts || !needsPorts
    }

    fileprivate func allows(tcpFlags flags: UInt8?) -> Bool {
        guard let wanted = tcpFlags else { return true }
        guard let flags else { return false }
        return flags & wanted.set == wanted.set && flags & wanted.clear == 0
    }

    fileprivate func allows(_ kind: FragmentKind) -> Bool {
        switch fragment {
        case nil: true
        case .first: kind == .first
        case .later: kind == .later
        case .any: kind != .whole
        case FragmentOption.some(.none): kind == .whole
        }
    }

    private typealias FragmentOption = Fragment?

    /// Rules of one kind get neighbouring bits.
    fileprivate var kind: Int {
        var kind = 0
        let asks = [
            endpoints != nil, source != nil, destination != nil, address != nil,
            sourcePorts != nil, destinationPorts != nil, ports != nil, tcpFlags != nil,
            icmp != nil, fragment != nil, payload != nil, flow != nil, sampleEvery != nil,
        ]
        for asked in asks { kind = kind << 1 | (asked ? 1 : 0) }
        return kind
    }
}

/// Makes rows, equal ones once.
private struct RowPool {
    /// The rule of each bit.
    let order: [Int]
    let summaryCount: Int
    let wordCount: Int
    /// All rows, each a summary and the bits.
    private(set) var words: [UInt64] = []
    private var known: [[UInt64]: UInt32] = [:]

    init(_ rules: [Rule]) {
        let kinds = rules.map(\.match.kind)
        order = rules.indices.sorted { (kinds[$0], $0) < (kinds[$1], $1) }
        wordCount = (rules.count + 63) / 64
        summaryCount = (wordCount + 63) / 64
    }

    /// The row of the bits for which `isIn` holds.
    mutating func row(_ isIn: (Int) -> Bool) -> UInt32 {
        var bits = [UInt64](repeating: 0, count: wordCount)
        for bit in order.indices where isIn(bit) { bits[bit >> 6] |= 1 << UInt64(bit & 63) }
        return row(bits)
    }

    mutating func row(_ bits: [UInt64]) -> UInt32 {
        if let row = known[bits] { return row }
        var summary = [UInt64](repeating: 0, count: summaryCount)
        for word in bits.indices where bits[word] != 0 {
            summary[word >> 6] |= 1 << UInt64(word & 63)
        }
        let row = UInt32(known.count)
        known[bits] = row
        words += summary
        words += bits
        return row
    }

    /// Cuts 0...last into intervals, each with the row of the bits that have it in their ranges,
    /// or that have none.
    mutating func intervals(
        _ ranges: [[ClosedRange<UInt128>]?], last: UInt128
    ) -> [(start: UInt128, row: UInt32)] {
        struct Change {
            var at: UInt128
            var bit: Int
        }
        var bits = [UInt64](repeating: 0, count: wordCount)
        var changes: [Change] = []
        for (bit, list) in ranges.enumerated() {
            guard let list else {
                bits[bit >> 6] |= 1 << UInt64(bit & 63)
                continue
            }
            // Merged, a bit turns on and off in turn.
            for range in RowPool.merged(list) {
                changes.append(Change(at: range.lowerBound, bit: bit))
                if range.upperBound < last {
                    changes.append(Change(at: range.upperBound + 1, bit: bit))
                }
            }
        }
        changes.sort { $0.at < $1.at }
        var result = [(start: UInt128(0), row: row(bits))]
        // The row that comes of turning one bit of a row, so that a long list of prefixes needs
        // no look at whole rows.
        var turned: [UInt64: UInt32] = [:]
        var next = 0
        while next < changes.count {
            let at = changes[next].at
            var row = result[result.count - 1].row
            while next < changes.count, changes[next].at == at {
                let bit = changes[next].bit
                bits[bit >> 6] ^= 1 << UInt64(bit & 63)
                let step = UInt64(row) << 32 | UInt64(bit)
                if let known = turned[step] {
                    row = known
                } else {
                    row = self.row(bits)
                    turned[step] = row
                }
                next += 1
            }
            if at == 0 {
                result[0].row = row
            } else if row != result[result.count - 1].row {
                result.append((at, row))
            }
        }
        return result
    }

    private static func merged(_ ranges: [ClosedRange<UInt128>]) -> [ClosedRange<UInt128>] {
        var result: [ClosedRange<UInt128>] = []
        for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
            if let end = result.last?.upperBound, end == .max || range.lowerBound <= end + 1 {
                let start = result.removeLast().lowerBound
                result.append(start...max(end, range.upperBound))
            } else {
                result.append(range)
            }
        }
        return result
    }
}

/// Collects what rules need beside rows.
private struct ActionTables {
    var lengths: [LengthRange] = []
    var strings: [ByteString] = []
    var bytes: [UInt8] = []
    var replacements: [CompiledReplacement] = []

    mutating func add(_ rule: Rule) -> CompiledRule {
        var compiled = CompiledRule()
        compiled.terminal = rule.terminal
        compiled.isAboutFragments = rule.match.fragment == .later || rule.match.fragment == .any
        compiled.isLogged = rule.isLogged
        compiled.isDryRun = rule.isDryRun
        compiled.icmp = rule.match.icmp
        compiled.flow = rule.match.flow
        compiled.sampleEvery = rule.match.sampleEvery ?? 0
        compiled.lengths = ActionTables.append(
            (rule.match.lengths ?? []).map {
                LengthRange(lowest: $0.lowerBound, highest: $0.upperBound)
            }, to: &lengths)
        if let payload = rule.match.payload {
            compiled.ignoresCase = payload.ignoresCase
            let list = payload.strings.map { string in
                add(payload.ignoresCase ? string.map(ASCII.lowercase) : string)
            }
            compiled.strings = ActionTables.append(list, to: &strings)
        }
        let list = rule.replacements.map {
            CompiledReplacement(find: add($0.find), with: add($0.with))
        }
        compiled.replacements = ActionTables.append(list, to: &replacements)
        compiled.isConditional =
            rule.match.icmp != nil || rule.match.lengths != nil || rule.match.payload != nil
            || rule.match.flow != nil || rule.match.sampleEvery != nil
        return compiled
    }

    private mutating func add(_ string: [UInt8]) -> ByteString {
        defer { bytes += string }
        return ByteString(start: UInt32(bytes.count), count: UInt32(string.count))
    }

    private static func append<T>(_ items: [T], to list: inout [T]) -> CompiledRule.Slice {
        let first = UInt32(list.count)
        list += items
        return CompiledRule.Slice(first: first, end: UInt32(list.count))
    }
}

enum ASCII {
    @inline(__always)
    static func lowercase(_ byte: UInt8) -> UInt8 {
        byte &- 0x41 < 26 ? byte | 0x20 : byte
    }
}
