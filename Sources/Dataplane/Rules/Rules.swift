import CSluice
import PacketIO
import Wire

/// The rule engine: decides packets by the section `policy` of the config file.
///
/// A packet is matched as it came: first all rules that match are found, up to the first that
/// decides, then they act in order.
@safe public struct Rules: ~Copyable, PacketProcessor {
    /// Rules that one policy may have.
    public static let capacity = 1 << 16
    /// Fragmented packets whose verdict is remembered.
    private static let fragmentCapacity = 4096
    /// How long, nanoseconds: RFC 791 suggests 15 s for reassembly, hosts use up to 30.
    private static let fragmentIdle: UInt64 = 30_000_000_000
    /// Events per second that one worker emits at most.
    private static let eventsPerSecond = 10

    /// Its configuration: a policy, compiled.
    public struct Configuration: Decodable, Sendable {
        let policy: PolicySnapshot

        public init(_ policy: PolicySnapshot) { self.policy = policy }

        /// Counters and limits are there for so many workers.
        fileprivate func check(_ worker: Int) {
            precondition(
                policy.ruleNames.isEmpty || worker < policy.workers,
                "a policy for \(policy.workers) workers")
        }

        /// Takes the policy that the decoder was given beside the section `processor`: rules are
        /// read apart. Without one: no rule, everything is forwarded.
        public init(from decoder: any Decoder) throws {
            policy =
                try decoder.userInfo[.policy] as? PolicySnapshot
                ?? PolicySnapshot(PolicySet(), generation: 1, workers: 1)
        }
    }

    private let worker: Int
    /// Keeps what `root` points to.
    private var configuration: Configuration
    private var root: SnapshotRoot
    private var fates: FlowTable<FragmentFate>
    private var found: RuleSet
    private var payload: PayloadFindings
    private var spender: RateSpender
    private var second: UInt64 = 0
    private var eventsLeft = 0

    /// Memory of one worker's rules beside its flow table and the snapshot, bytes.
    public static var byteCount: Int {
        FlowTable<FragmentFate>.byteCount(capacity: fragmentCapacity) + capacity / 8
    }

    /// - Throws: `IOFailure`, ENOMEM.
    public init(configuration: Configuration, worker: Int) throws {
        let found = try RuleSet(capacity: Rules.capacity)
        let payload = try PayloadFindings()
        let fates = try FlowTable<FragmentFate>(
            capacity: Rules.fragmentCapacity, node: -1, seed: UInt64.random(in: .min ... .max),
            fresh: FragmentFate(), lifetimes: FlowLifetimes(all: Rules.fragmentIdle))
        configuration.check(worker)
        self.worker = worker
        self.configuration = configuration
        self.found = found
        self.payload = payload
        self.fates = fates
        spender = RateSpender(worker: worker)
        root = configuration.policy.copyRoot()
    }

    public mutating func startBurst() { spender.startBurst() }

    public mutating func adopt(_ configuration: Configuration) {
        configuration.check(worker)
        self.configuration = configuration
        root = configuration.policy.copyRoot()
    }

    /// The control side knows the names of the rules of every generation.
    public static func handle(_ event: RuleEvent, log: EventLog) { log.rule(event) }

    public static var newFlow: RuleFlow { RuleFlow() }

    public mutating func process(
        _ packet: inout Packet, flow: inout RuleFlow, context: inout Context
    ) -> Verdict {
        let direction = FlowDirection(packet)
        let verdict = decide(&packet, &flow, direction, context)
        flow.note(verdict, direction)
        return verdict
    }

    /// By the policy of the packet's endpoint.
    public func forwardsUndecodable(_ options: AWSOptions, _ settings: PathSettings) -> Bool {
        let index =
            root.hasEndpointPolicies && options.present & 1 != 0
            ? root.policyOfEndpoint.value(options.endpoint) : 0
        // Sound: as in decide.
        return index == 0
            ? settings.forwardsUndecodable
            : unsafe root.policies.pointer(index).pointee.forwardsUndecodable
    }

    private mutating func decide(
        _ packet: inout Packet, _ flow: inout RuleFlow, _ direction: FlowDirection,
        _ context: borrowing Context
    ) -> Verdict {
        let index =
            root.hasEndpointPolicies ? root.policyOfEndpoint.value(packet.endpoint) : 0
        // Sound: the snapshot holds a policy at every index it names, and outlives the packet.
        return unsafe decide(
            by: root.policies.pointer(index).pointee, &packet, &flow, direction, context)
    }

    private mutating func decide(
        by policy: borrowing CompiledPolicy, _ packet: inout Packet, _ flow: inout RuleFlow,
        _ direction: FlowDirection, _ context: borrowing Context
    ) -> Verdict {
        if policy.dropsUnknownTCP, flow.forwarded == 0, packet.isMidFlowTCP {
            return .drop(.unknownTCP)
        }
        var fate = FragmentFate.Verdict.unknown
        if packet.isFragment {
            if packet.hidesItsHeader { return .drop(.fragment) }
            fate = noteLater(policy, packet, context.now)
            if fate == .dropped { return .drop(.fragment) }
        }
        if policy.ruleCount > 0, policy.collect(packet, flow, direction, worker, &found, &payload) {
            // A later fragment has no ports and no payload: rules that are not about fragments
            // would judge it by less than its first.
            if let verdict = act(policy, &packet, &flow, context, follows: fate == .forwarded) {
                return packet.isFragment ? noteFirst(policy, packet, verdict, context.now) : verdict
            }
        }
        guard packet.isFragment else { return policy.defaultVerdict }
        return decideFragment(policy, packet, fate, context.now)
    }

    /// Lets the rules found act in order, and leaves the set empty. Nil when none decided.
    ///
    /// - Parameter follows: a later fragment whose first was forwarded: of the rules, only those
    ///   about fragments decide, and those that limit, since they count packets.
    private mutating func act(
        _ policy: borrowing CompiledPolicy, _ packet: inout Packet, _ flow: inout RuleFlow,
        _ context: borrowing Context, follows: Bool
    ) -> Verdict? {
        var verdict: Verdict?
        var isOver = false
        while let index = found.popFirst() {
            // What stands behind the rule that decided was found before it.
            guard verdict == nil, !isOver else { continue }
            let rule = policy.rules[index]
            if follows, rule.terminal != nil, rule.limit < 0, !rule.isAboutFragments {
                // It would end the walk of a whole packet; the first fragment has decided here.
                isOver = !rule.isDryRun
                continue
            }
            if rule.limit >= 0,
                !spender.exceeds(policy.limits[Int(rule.limit)], packet, &flow, context.now)
            {
                continue
            }
            root.hits.add(policy.firstHit &+ index, worker: worker)
            if rule.isLogged { emit(policy, index, rule.isDryRun, packet, context) }
            guard !rule.isDryRun else { continue }
            verdict = policy.replace(rule, &packet)
            guard verdict == nil else { continue }
            switch rule.terminal {
            case .forward: verdict = .forward
            case .drop: verdict = .drop(.rule)
            case nil: break
            }
        }
        return verdict
    }

    // ---- Fragments.

    /// A fragment that no rule decided.
    private mutating func decideFragment(
        _ policy: borrowing CompiledPolicy, _ packet: borrowing Packet,
        _ fate: FragmentFate.Verdict, _ now: UInt64
    ) -> Verdict {
        guard packet.isLaterFragment else {
            return noteFirst(policy, packet, policy.defaultVerdict, now)
        }
        switch policy.fragments {
        case .forward: return .forward
        case .drop: return .drop(.fragment)
        case .followFirst: return fate == .forwarded ? .forward : policy.defaultVerdict
        }
    }

    /// How the first fragment fared that a later one follows; unknown for all others.
    private mutating func noteLater(
        _ policy: borrowing CompiledPolicy, _ packet: borrowing Packet, _ now: UInt64
    ) -> FragmentFate.Verdict {
        guard policy.fragments == .followFirst, packet.isLaterFragment else { return .unknown }
        let position = packet.fragmentPosition
        return fates[entry(of: packet, position, now)].noteLater(
            offset: position.offset, count: position.end &- position.offset)
    }

    /// Keeps the verdict on a first fragment for those that follow.
    private mutating func noteFirst(
        _ policy: borrowing CompiledPolicy, _ packet: borrowing Packet, _ verdict: Verdict,
        _ now: UInt64
    ) -> Verdict {
        guard policy.fragments == .followFirst, !packet.isLaterFragment else { return verdict }
        let position = packet.fragmentPosition
        let passes = fates[entry(of: packet, position, now)].noteFirst(
            end: position.end, isForwarded: verdict == .forward)
        return verdict == .forward && !passes ? .drop(.fragment) : verdict
    }

    /// The entry of the packet that a fragment belongs to: endpoint, addresses, protocol and
    /// identification (RFC 791 §2.3, RFC 8200 §4.5), by direction.
    private mutating func entry(
        of packet: borrowing Packet, _ position: FragmentPosition, _ now: UInt64
    ) -> Int {
        let layout = packet.layout
        var key = FlowKey(
            endpoint: layout.options.endpoint, version: layout.version,
            protocolNumber: layout.flowProtocol, source: layout.source,
            destination: layout.destination, sourcePort: 0, destinationPort: 0, isFragment: true)
        key.lowPort = UInt16(truncatingIfNeeded: position.identification)
        key.highPort = UInt16(truncatingIfNeeded: position.identification &>> 16)
        key.fragment = FlowKey.isLow(layout.source, 0, layout.destination, 0) ? 1 : 2
        return fates.find(key, cookie: 0, now: now).slot
    }

    // ---- Events.

    private mutating func emit(
        _ policy: borrowing CompiledPolicy, _ index: Int, _ isDryRun: Bool,
        _ packet: borrowing Packet, _ context: borrowing Context
    ) {
        let now = context.now
        if now &- second >= 1_000_000_000 {
            second = now
            eventsLeft = Rules.eventsPerSecond
        }
        guard eventsLeft > 0 else { return context.loseEvent() }
        eventsLeft &-= 1
        context.emit(
            RuleEvent(
                generation: root.generation, rule: policy.firstHit &+ index, isDryRun: isDryRun,
                endpoint: packet.endpoint, version: packet.version,
                protocolNumber: packet.protocolNumber, source: packet.source,
                destination: packet.destination, sourcePort: packet.sourcePort,
                destinationPort: packet.destinationPort, length: packet.length))
    }
}

extension CodingUserInfoKey {
    /// The `PolicySnapshot` for `Rules.Configuration`.
    public static let policy = CodingUserInfoKey(rawValue: "sluice.policy")!
}

extension CompiledPolicy {
    @inline(__always)
    fileprivate var defaultVerdict: Verdict { dropsByDefault ? .drop(.default) : .forward }

    /// Collects the rules that match the packet, at least up to the first that decides.
    fileprivate func collect(
        _ packet: borrowing Packet, _ flow: RuleFlow, _ direction: FlowDirection,
        _ worker: Int, _ found: inout RuleSet, _ inPayload: inout PayloadFindings
    ) -> Bool {
        let rows = PacketRows(self, packet)
        var end = ruleCount
        var isSearched = false
        let isWide = summaryCount > 1
        for group in 0..<summaryCount {
            var summary = rows.and(group)
            if isSearched { summary &= selected(group, inPayload) }
            guard summary != 0 else { continue }
            let blocks = isWide ? rows.blocks(summaryCount &+ group) : rows.behindSummary
            while summary != 0 {
                let place = summary.trailingZeroBitCount
                let word = group &<< 6 | place
                summary &= summary &- 1
                var bits = blocks.and(place)
                if !payload.isEmpty {
                    let asking = bits & words[asking(group, isWide) &+ place]
                    if asking != 0 {
                        if !isSearched, isAny(asking, word, before: end) {
                            payload.scan(
                                packet.view, from: packet.layout.payload,
                                to: packet.layout.payloadEnd, worker: worker, &inPayload)
                            isSearched = true
                            summary &= selected(group, inPayload)
                        }
                        bits &= ~asking | inPayload.rules[word]
                    }
                }
                while bits != 0 {
                    let index = Int(order[word &<< 6 | bits.trailingZeroBitCount])
                    bits &= bits &- 1
                    guard index < end else { continue }
                    let rule = rules[index]
                    guard !rule.isConditional || holds(rule, packet, flow, direction) else {
                        continue
                    }
                    found.insert(index)
                    // Whether a limit is exceeded is known only when it is the rule's turn.
                    if rule.terminal != nil, !rule.isDryRun, rule.limit < 0 { end = index }
                }
            }
        }
        if isSearched { inPayload.clear() }
        return !found.isEmpty
    }

    /// The words with rules that ask for no string, or for one that was found.
    @inline(__always)
    private func selected(_ group: Int, _ inPayload: borrowing PayloadFindings) -> UInt64 {
        words[payload.otherRow &+ group] | inPayload.rules.summary(group)
    }

    /// Where the bits of the rules that ask for a payload string begin.
    @inline(__always)
    private func asking(_ group: Int, _ isWide: Bool) -> Int {
        isWide
            ? Int(words[payload.askingRow &+ summaryCount &+ group]) : payload.askingRow &+ 1
    }

    /// One of the rules stands before `end`, which an earlier one has decided.
    @inline(__always)
    private func isAny(_ bits: UInt64, _ word: Int, before end: Int) -> Bool {
        guard end < ruleCount else { return true }
        var bits = bits
        while bits != 0 {
            if Int(order[word &<< 6 | bits.trailingZeroBitCount]) < end { return true }
            bits &= bits &- 1
        }
        return false
    }

    /// What the rows do not say.
    private func holds(
        _ rule: CompiledRule, _ packet: borrowing Packet, _ flow: RuleFlow,
        _ direction: FlowDirection
    ) -> Bool {
        if let wanted = rule.flow, flow.isEstablished(direction) != (wanted == .established) {
            return false
        }
        if rule.sampleEvery > 0, flow.packets % rule.sampleEvery != 0 { return false }
        if let icmp = rule.icmp, !icmp.holds(packet) { return false }
        return rule.lengths.isEmpty || isAnyLength(rule.lengths, packet.length)
    }

    private func isAnyLength(_ slice: CompiledRule.Slice, _ length: Int) -> Bool {
        for i in Int(slice.first)..<Int(slice.end)
        where Int(lengths[i].lowest) <= length && length <= Int(lengths[i].highest) {
            return true
        }
        return false
    }

    @inline(__always)
    private func needle(_ string: ByteString) -> Needle {
        // Sound: the bytes belong to the snapshot, which outlives the packet.
        unsafe Needle(unsafeStart: bytes.pointer(Int(string.start)), count: Int(string.count))
    }

    /// One replacement after the other; a reason to drop the packet, or nil.
    fileprivate func replace(_ rule: CompiledRule, _ packet: inout Packet) -> Verdict? {
        for i in Int(rule.replacements.first)..<Int(rule.replacements.end) {
            let replacement = replacements[i]
            let outcome = packet.replaceAll(
                needle(replacement.find), with: needle(replacement.with))
            if case .refused(let reason) = outcome { return .drop(reason) }
        }
        return nil
    }
}

/// Where the rows of one packet begin, or the same blocks of each: their AND, word by word, are the
/// rules it may match.
private struct PacketRows: BitwiseCopyable {
    private let words: Table<UInt64>
    private var protocols: Int
    private var tcpFlags: Int
    private var fragments: Int
    private var endpoints: Int
    private var sourcePorts: Int
    private var destinationPorts: Int
    private var eitherPort: (Int, Int)
    private var source: Int
    private var destination: Int
    private var eitherAddress: (Int, Int)

    @inline(__always)
    init(_ policy: borrowing CompiledPolicy, _ packet: borrowing Packet) {
        // Field by field: a copy of the layout would cost more than all lookups.
        let every = policy.everyRule
        let asked = policy.properties
        let isIPv6 = packet.version == 6
        words = policy.words
        protocols = Int(policy.protocols[(isIPv6 ? 256 : 0) &+ Int(packet.protocolNumber)])
        tcpFlags =
            asked.contains(.tcpFlags)
            ? Int(policy.tcpFlags[packet.hasTCPFlags ? Int(packet.tcpFlags) : 256]) : every
        fragments =
            asked.contains(.fragments)
            ? Int(policy.fragmentKinds[packet.fragmentKind.rawValue]) : every
        endpoints =
            asked.contains(.endpoints) ? policy.endpoints.value(packet.endpoint) : every
        if packet.layout.hasPorts {
            sourcePorts =
                asked.contains(.sourcePorts) ? policy.sourcePorts.row(packet.sourcePort) : every
            destinationPorts =
                asked.contains(.destinationPorts)
                ? policy.destinationPorts.row(packet.destinationPort) : every
            eitherPort =
                asked.contains(.ports)
                ? (
                    policy.ports.row(packet.sourcePort),
                    policy.ports.row(packet.destinationPort)
                ) : (every, every)
        } else {
            sourcePorts = policy.portless
            destinationPorts = every
            eitherPort = (every, every)
        }
        source =
            asked.contains(.source) ? policy.source.row(packet.source, isIPv6: isIPv6) : every
        destination =
            asked.contains(.destination)
            ? policy.destination.row(packet.destination, isIPv6: isIPv6) : every
        eitherAddress =
            asked.contains(.address)
            ? (
                policy.address.row(packet.source, isIPv6: isIPv6),
                policy.address.row(packet.destination, isIPv6: isIPv6)
            ) : (every, every)
    }

    @inline(__always)
    func and(_ i: Int) -> UInt64 {
        words[protocols &+ i] & words[tcpFlags &+ i] & words[fragments &+ i]
            & words[endpoints &+ i] & words[sourcePorts &+ i] & words[destinationPorts &+ i]
            & (words[eitherPort.0 &+ i] | words[eitherPort.1 &+ i])
            & words[source &+ i] & words[destination &+ i]
            & (words[eitherAddress.0 &+ i] | words[eitherAddress.1 &+ i])
    }

    /// The bits of rows with a summary of one word.
    @inline(__always)
    var behindSummary: PacketRows { mapped { $0 &+ 1 } }

    /// The blocks of a group; `i` is where rows say where they begin.
    @inline(__always)
    func blocks(_ i: Int) -> PacketRows {
        let words = words
        return mapped { Int(truncatingIfNeeded: words[$0 &+ i]) }
    }

    @inline(__always)
    private func mapped(_ begin: (Int) -> Int) -> PacketRows {
        var rows = self
        rows.protocols = begin(protocols)
        rows.tcpFlags = begin(tcpFlags)
        rows.fragments = begin(fragments)
        rows.endpoints = begin(endpoints)
        rows.sourcePorts = begin(sourcePorts)
        rows.destinationPorts = begin(destinationPorts)
        rows.eitherPort = (begin(eitherPort.0), begin(eitherPort.1))
        rows.source = begin(source)
        rows.destination = begin(destination)
        rows.eitherAddress = (begin(eitherAddress.0), begin(eitherAddress.1))
        return rows
    }
}

extension Packet {
    fileprivate var hasTCPFlags: Bool {
        protocolNumber == IPProtocol.tcp && !isLaterFragment
            && layout.innerEnd &- layout.transport >= TCPHeader.minimumLength
    }

    /// Everything but a SYN that opens a connection (RFC 9293 §3.5).
    fileprivate var isMidFlowTCP: Bool {
        hasTCPFlags && !isFragment && tcpFlags & 0b1_0010 != 0b0_0010
    }

    fileprivate var fragmentKind: FragmentKind {
        isLaterFragment ? .later : isFragment ? .first : .whole
    }
}

extension Match.ICMP {
    fileprivate func holds(_ packet: borrowing Packet) -> Bool {
        guard let header = packet.icmp else { return false }
        if let types, !types.contains(header.type) { return false }
        if let codes, !codes.contains(header.code) { return false }
        guard let sequenceEvery else { return true }
        // Only echo messages carry a sequence number (RFC 792, RFC 4443 §4).
        let isEcho =
            packet.version == 4
            ? header.type == ICMPHeader.echoRequest || header.type == ICMPHeader.echoReply
            : header.type == ICMPHeader.echoRequestV6 || header.type == ICMPHeader.echoReplyV6
        return isEcho && header.sequence % sequenceEvery == 0
    }
}

/// Rules of one policy, taken out in order: a bit for each, in memory of its own.
@safe @usableFromInline
struct RuleSet: ~Copyable {
    private let words: UnsafeMutablePointer<UInt64>
    private let bytes: Int
    /// Words that may hold bits: low ..< high.
    private var low: Int
    private var high = 0

    /// - Throws: ENOMEM.
    init(capacity: Int) throws(IOFailure) {
        bytes = capacity / 8
        low = capacity / 64
        guard let memory = unsafe sluice_node_alloc(bytes, -1) else {
            throw IOFailure("allocate \(bytes) bytes for rules", errno: ENOMEM)
        }
        unsafe words = memory.bindMemory(to: UInt64.self, capacity: capacity / 64)
    }

    deinit { unsafe sluice_node_free(words, bytes) }

    var isEmpty: Bool { low >= high }

    @inline(__always)
    mutating func insert(_ index: Int) {
        assert(index >= 0 && index < bytes &* 8)
        let word = index &>> 6
        // Sound: index < capacity, as the snapshot's maker has checked.
        unsafe words[word] |= 1 &<< UInt64(index & 63)
        low = min(low, word)
        high = max(high, word &+ 1)
    }

    /// The lowest index, which is no longer in the set; nil when it is empty.
    @inline(__always)
    mutating func popFirst() -> Int? {
        while low < high {
            // Sound: as insert.
            let bits = unsafe words[low]
            if bits != 0 {
                unsafe words[low] = bits & (bits &- 1)
                return low &<< 6 | bits.trailingZeroBitCount
            }
            low &+= 1
        }
        low = bytes &>> 3
        high = 0
        return nil
    }
}
