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
    let headerChecks: Table<HeaderCheck>
    let refusedICMP: Table<Match.ICMP>
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
        let byRule = policy.rules.map { CompiledMatch($0.match) }
        var rows = RowPool(kinds: byRule.map(\.kind), limit: limit)
        let matches = rows.order.map { byRule[$0] }

        let everyRule = rows.row { _ in true }
        self.everyRule = Int(everyRule)
        portless = Int(rows.row { !matches[$0].asksPorts })
        properties = matches.reduce(into: []) { $0.formUnion($1.properties) }
        protocols = memory.table(CompiledPolicy.protocolRows(matches, &rows))
        tcpFlags = memory.table(
            properties.contains(.tcpFlags)
                ? CompiledPolicy.flagRows(matches, &rows)
                : [UInt32](repeating: everyRule, count: 257))
        fragmentKinds = memory.table(
            FragmentKind.allCases.map { kind in rows.row { matches[$0].allows(kind) } })
        endpoints = CompiledPolicy.endpointTable(matches, &rows, memory)
        let portTable = { (rows: inout RowPool, ranges: [[ClosedRange<UInt128>]?]) in
            PortTable(rows.intervals(ranges, last: 0xFFFF), memory)
        }
        sourcePorts = portTable(&rows, matches.map(\.sourcePorts))
        destinationPorts = portTable(&rows, matches.map(\.destinationPorts))
        ports = portTable(&rows, matches.map(\.ports))
        source = AddressTable(matches.map(\.source), &rows, memory)
        destination = AddressTable(matches.map(\.destination), &rows, memory)
        address = AddressTable(matches.map(\.address), &rows, memory)
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
        rules = memory.table(zip(policy.rules, byRule).map { actions.add($0, $1) })
        lengths = memory.table(actions.lengths)
        headerChecks = memory.table(actions.headerChecks)
        refusedICMP = memory.table(actions.refusedICMP)
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

    /// By version and protocol number.
    private static func protocolRows(
        _ matches: [CompiledMatch], _ rows: inout RowPool
    ) -> [UInt32] {
        // Numbers that stand in the same sets have the same row.
        let sets = Set(matches.flatMap { [$0.needs.protocolsV4, $0.needs.protocolsV6] })
        var result: [UInt32] = []
        for version in [4, 6] as [UInt8] {
            var known: [[Bool]: UInt32] = [:]
            for number in (0...255) as ClosedRange<UInt8> {
                let standing = sets.map { $0.contains(number) }
                let row =
                    known[standing]
                    ?? rows.row { matches[$0].needs.allows(version: version, protocol: number) }
                known[standing] = row
                result.append(row)
            }
        }
        return result
    }

    /// By TCP flags; the last is for packets without.
    private static func flagRows(_ matches: [CompiledMatch], _ rows: inout RowPool) -> [UInt32] {
        (0...256).map { flags in
            rows.row { matches[$0].allows(tcpFlags: flags < 256 ? UInt8(flags) : nil) }
        }
    }

    private static func endpointTable(
        _ matches: [CompiledMatch], _ rows: inout RowPool, _ memory: TableMemory
    ) -> EndpointTable {
        var naming: [UInt64: [Int]] = [:]
        var refusing: [UInt64: [Int]] = [:]
        for (bit, match) in matches.enumerated() {
            for endpoint in match.endpoints ?? [] { naming[endpoint, default: []].append(bit) }
            for endpoint in match.refusedEndpoints { refusing[endpoint, default: []].append(bit) }
        }
        let others = rows.row { matches[$0].endpoints == nil }
        var named = naming.mapValues { rows.row(others, with: $0) }
        for (endpoint, bits) in refusing {
            named[endpoint] = rows.row(named[endpoint] ?? others, without: bits)
        }
        return EndpointTable(named, other: others, memory)
    }
}
