import Synchronization
import Wire

/// One policy as flat tables.
///
/// Each rule is a bit. For every property of a packet a table gives the *row*: the bits of all
/// rules that this property allows. The AND of a packet's rows are the rules that match it, up to
/// what is checked rule by rule (ICMP, length). A row begins with a summary, one bit per
/// word that is not zero, so that the cost grows with what can match: rules of the same kind have
/// neighbouring bits, and a packet whose port no rule names skips all port rules at once. A row is
/// named by where it begins in `words`.
///
/// Behind the summary stand the bits; in a policy of more than 64 words instead, for every word of
/// the summary, where its block of 64 words begins. Rows share equal blocks: every end of a prefix
/// or range adds a block at most, so that the memory does not grow with the square of the rules.
///
/// Payload strings are looked for once there is a candidate that asks for any: then they give one
/// more row.
///
/// Not copyable: it is large, and used where it lies.
struct CompiledPolicy: ~Copyable {
    /// Keeps Swift from copying the whole policy, twice a packet, for calls that borrow it: what
    /// holds an atomic has an address of its own.
    private let staysInPlace = Atomic<Bool>(true)
    let dropsByDefault: Bool
    let dropsUnknownTCP: Bool
    let forwardsUndecodable: Bool
    let fragments: Policy.Fragments
    let ruleCount: Int
    /// Hit counter of the first rule.
    let firstHit: Int
    /// Words of the summary.
    let summaryCount: Int

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
    let payload: PayloadTable
    /// Of replacements.
    let bytes: Table<UInt8>
    let replacements: Table<CompiledReplacement>
    let limits: Table<RateLimit>

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
    /// Index in `limits`; negative without.
    var limit: Int32 = -1
    /// From `first` up to `end` of `lengths`, `replacements`.
    var lengths = Slice()
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
    /// More words of rows than most machines want to spend: 1 GiB.
    static var mostWords: Int { 1 << 27 }

    /// - Parameters:
    ///   - firstHit: the hit counter of the policy's first rule.
    ///   - limits: those of the rules that have one, in order.
    /// - Throws: when the rows need more words than `limit`.
    init(
        _ policy: Policy, firstHit: Int, limits: [RateLimit] = [], workers: Int,
        _ memory: TableMemory, limit: Int = mostWords
    ) throws(PolicyExcess) {
        var rows = RowPool(policy.rules, limit: limit)
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
        var naming: [UInt64: [Int]] = [:]
        for (bit, match) in matches.enumerated() {
            for endpoint in match.endpoints ?? [] { naming[endpoint, default: []].append(bit) }
        }
        let otherEndpoints = rows.row { matches[$0].endpoints == nil }
        var byEndpoint: [UInt64: UInt32] = [:]
        for (endpoint, bits) in naming {
            byEndpoint[endpoint] = rows.row(otherEndpoints, with: bits)
        }
        endpoints = EndpointTable(byEndpoint, other: otherEndpoints, memory)

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
        let askingRow = Int(rows.row { matches[$0].payload != nil })
        let otherRow = Int(rows.row { matches[$0].payload == nil })

        guard !rows.isOverfull else {
            throw PolicyExcess(
                "the prefixes and ranges of the rules overlap in too many ways: their tables "
                    + "would take more than \(limit >> 17) MiB; name them in fewer rules")
        }

        payload = PayloadTable(
            matches.map(\.payload), askingRow: askingRow, otherRow: otherRow, workers: workers,
            memory)
        var actions = ActionTables()
        rules = memory.table(policy.rules.map { actions.add($0) })
        lengths = memory.table(actions.lengths)
        bytes = memory.table(actions.bytes)
        replacements = memory.table(actions.replacements)
        self.limits = memory.table(limits)

        order = memory.table(rows.order.map { UInt32($0) })
        words = memory.table(rows.words)
        summaryCount = rows.summaryCount
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

    /// Rules of one kind get neighbouring bits, those that ask for payload strings the last ones:
    /// whether the payload must be searched is known when all others have been looked at.
    fileprivate var kind: Int {
        var kind = 0
        let asks = [
            payload != nil, endpoints != nil, source != nil, destination != nil, address != nil,
            sourcePorts != nil, destinationPorts != nil, ports != nil, tcpFlags != nil,
            icmp != nil, fragment != nil, flow != nil, sampleEvery != nil,
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
    private let wordCount: Int
    /// Rows have blocks of 64 words elsewhere.
    private var isWide: Bool { summaryCount > 1 }
    private let limit: Int
    /// All rows and blocks.
    private(set) var words: [UInt64] = []
    private var known: [[UInt64]: UInt32] = [:]
    private var blocks: [[UInt64]: UInt64] = [:]
    /// There was no room for some row: the tables must not be used.
    private(set) var isOverfull = false

    init(_ rules: [Rule], limit: Int) {
        let kinds = rules.map(\.match.kind)
        order = rules.indices.sorted { (kinds[$0], $0) < (kinds[$1], $1) }
        wordCount = (rules.count + 63) / 64
        summaryCount = (wordCount + 63) / 64
        self.limit = limit
    }

    /// The row of the bits for which `isIn` holds.
    mutating func row(_ isIn: (Int) -> Bool) -> UInt32 {
        var bits = [UInt64](repeating: 0, count: isWide ? summaryCount * 64 : wordCount)
        for bit in order.indices where isIn(bit) { bits[bit >> 6] |= 1 << UInt64(bit & 63) }
        guard isWide else { return add(RowPool.summary(bits[...]) + bits) }
        let parts = (0..<summaryCount).map { bits[$0 * 64..<$0 * 64 + 64] }
        return add(parts.flatMap { RowPool.summary($0) } + parts.map { block($0) })
    }

    /// Another row with these bits set too.
    mutating func row(_ row: UInt32, with bits: [Int]) -> UInt32 {
        changed(row, bits) { $0 | $1 }
    }

    /// Another row with a bit turned.
    fileprivate mutating func row(_ row: UInt32, turning bit: Int) -> UInt32 {
        changed(row, [bit]) { $0 ^ $1 }
    }

    private mutating func changed(
        _ row: UInt32, _ bits: [Int], _ change: (UInt64, UInt64) -> UInt64
    ) -> UInt32 {
        guard !isOverfull else { return row }
        let start = Int(row)
        var new = Array(words[start..<start + summaryCount + (isWide ? summaryCount : wordCount)])
        guard isWide else {
            for bit in bits {
                new[1 + (bit >> 6)] = change(new[1 + (bit >> 6)], 1 << UInt64(bit & 63))
            }
            new[0] = RowPool.summary(new[1...]).first ?? 0
            return add(new)
        }
        for (group, bits) in Dictionary(grouping: bits, by: { $0 >> 12 }) {
            let old = Int(new[summaryCount + group])
            var part = Array(words[old..<old + 64])
            for bit in bits {
                let word = bit >> 6 & 63
                part[word] = change(part[word], 1 << UInt64(bit & 63))
            }
            new[group] = RowPool.summary(part[...])[0]
            new[summaryCount + group] = block(part[...])
        }
        return add(new)
    }

    private mutating func add(_ row: [UInt64]) -> UInt32 {
        if let row = known[row] { return row }
        let start = UInt32(truncatingIfNeeded: append(row))
        known[row] = start
        return start
    }

    /// Where a block of 64 words stands.
    private mutating func block(_ part: ArraySlice<UInt64>) -> UInt64 {
        let part = Array(part)
        if let known = blocks[part] { return known }
        let start = UInt64(append(part))
        blocks[part] = start
        return start
    }

    private mutating func append(_ new: [UInt64]) -> Int {
        guard words.count + new.count <= limit else {
            isOverfull = true
            return 0
        }
        words += new
        return words.count - new.count
    }

    /// A bit for each word that is not zero.
    private static func summary(_ words: ArraySlice<UInt64>) -> [UInt64] {
        var summary: UInt64 = 0
        for (i, word) in words.enumerated() where word != 0 { summary |= 1 << UInt64(i) }
        return [summary]
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
        var changes: [Change] = []
        for (bit, list) in ranges.enumerated() {
            // Merged, a bit turns on and off in turn.
            for range in RowPool.merged(list ?? []) {
                changes.append(Change(at: range.lowerBound, bit: bit))
                if range.upperBound < last {
                    changes.append(Change(at: range.upperBound + 1, bit: bit))
                }
            }
        }
        // One rule's are in order.
        if ranges.lazy.filter({ $0 != nil }).count > 1 { changes.sort { $0.at < $1.at } }
        var result = [(start: UInt128(0), row: row { ranges[$0] == nil })]
        // Where turns led to lately, so that a long list of prefixes needs no look at whole rows.
        var turns = [Turn](repeating: Turn(), count: changes.isEmpty ? 0 : 1 << 12)
        for change in changes where !isOverfull {
            let row = result[result.count - 1].row
            let slot = (Int(row) &* 31 &+ change.bit) & (turns.count - 1)
            if turns[slot].row != row || turns[slot].bit != change.bit {
                let next = self.row(row, turning: change.bit)
                turns[slot] = Turn(row: row, bit: change.bit, next: next)
            }
            if change.at == result[result.count - 1].start {
                result[result.count - 1].row = turns[slot].next
            } else {
                result.append((change.at, turns[slot].next))
            }
        }
        return result
    }

    private struct Turn {
        var row: UInt32 = 0
        var bit = -1
        var next: UInt32 = 0
    }

    private static func merged(_ ranges: [ClosedRange<UInt128>]) -> [ClosedRange<UInt128>] {
        var result: [ClosedRange<UInt128>] = []
        result.reserveCapacity(ranges.count)
        // Long lists come from files, most of which are in order.
        let isInOrder = zip(ranges, ranges.dropFirst()).allSatisfy {
            $0.lowerBound <= $1.lowerBound
        }
        for range in isInOrder ? ranges : ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
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
    var bytes: [UInt8] = []
    var replacements: [CompiledReplacement] = []
    var limitCount: Int32 = 0

    mutating func add(_ rule: Rule) -> CompiledRule {
        var compiled = CompiledRule()
        compiled.terminal = rule.terminal
        compiled.isAboutFragments = rule.match.fragment == .later || rule.match.fragment == .any
        compiled.isLogged = rule.isLogged
        compiled.isDryRun = rule.isDryRun
        compiled.icmp = rule.match.icmp
        compiled.flow = rule.match.flow
        compiled.sampleEvery = rule.match.sampleEvery ?? 0
        if rule.match.rate != nil {
            compiled.limit = limitCount
            limitCount += 1
        }
        compiled.lengths = ActionTables.append(
            (rule.match.lengths ?? []).map {
                LengthRange(lowest: $0.lowerBound, highest: $0.upperBound)
            }, to: &lengths)
        let list = rule.replacements.map {
            CompiledReplacement(find: add($0.find), with: add($0.with))
        }
        compiled.replacements = ActionTables.append(list, to: &replacements)
        compiled.isConditional =
            rule.match.icmp != nil || rule.match.lengths != nil || rule.match.flow != nil
            || rule.match.sampleEvery != nil
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
