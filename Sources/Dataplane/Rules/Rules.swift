import CSluice
import PacketIO
import Wire

/// The rule engine: decides packets by the policy that a `PolicySource` hands out.
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

    private let reader: SourceReader
    private let worker: Int
    private var address: UInt
    private var root: SnapshotRoot
    private var fates: FlowTable<Fate>
    private var found: RuleSet
    private var spender: RateSpender
    private var second: UInt64 = 0
    private var eventsLeft = 0
    /// Only what `init(worker:)` made.
    private let own: (PolicySnapshot, PolicySource)?

    /// How the first fragment of a packet fared. Not private, as `RuleSet`: Swift 6.3 cannot
    /// compile a worker with rules in another module that has to name private types.
    @usableFromInline enum Fate: UInt8, BitwiseCopyable { case unknown, forwarded, dropped }

    /// Without any rule: forwards everything.
    public init(worker: Int) throws {
        let snapshot = try PolicySnapshot(
            PolicySet(), settings: PathSettings(), generation: 1, workers: worker + 1)
        let source = try PolicySource(workers: worker + 1, snapshot)
        try self.init(source, worker: worker, own: (snapshot, source))
    }

    /// - Parameter source: must outlive the processor.
    /// - Throws: `IOFailure`, ENOMEM.
    public init(_ source: PolicySource, worker: Int) throws {
        try self.init(source, worker: worker, own: nil)
    }

    private init(
        _ source: PolicySource, worker: Int, own: (PolicySnapshot, PolicySource)?
    ) throws {
        let found = try RuleSet(capacity: Rules.capacity)
        let fates = try FlowTable<Fate>(
            capacity: Rules.fragmentCapacity, node: -1, seed: UInt64.random(in: .min ... .max),
            fresh: .unknown, lifetimes: FlowLifetimes(all: Rules.fragmentIdle))
        self.worker = worker
        self.own = own
        self.found = found
        self.fates = fates
        spender = RateSpender(worker: worker)
        reader = source.reader(worker)
        address = reader.current
        root = reader.adopt(address)
    }

    public mutating func adopt(_ settings: inout PathSettings) {
        // Before the snapshot goes whose limits these are.
        spender.startBurst()
        let current = reader.current
        guard current != address else { return }
        address = current
        root = reader.adopt(current)
        settings = root.settings
    }

    public static var newFlow: RuleFlow { RuleFlow() }

    public mutating func process(
        _ packet: inout Packet, flow: inout RuleFlow, context: inout ProcessorContext
    ) -> Verdict {
        let direction = FlowDirection(packet)
        let verdict = decide(&packet, &flow, direction, context)
        flow.note(verdict, direction)
        return verdict
    }

    private mutating func decide(
        _ packet: inout Packet, _ flow: inout RuleFlow, _ direction: FlowDirection,
        _ context: borrowing ProcessorContext
    ) -> Verdict {
        let index =
            root.hasEndpointPolicies ? root.policyOfEndpoint.value(packet.endpoint) : 0
        // Sound: the snapshot holds a policy at every index it names, and outlives the packet.
        return unsafe decide(
            by: root.policies.pointer(index).pointee, &packet, &flow, direction, context)
    }

    private mutating func decide(
        by policy: borrowing CompiledPolicy, _ packet: inout Packet, _ flow: inout RuleFlow,
        _ direction: FlowDirection, _ context: borrowing ProcessorContext
    ) -> Verdict {
        if policy.dropsUnknownTCP, flow.forwarded == 0, packet.isMidFlowTCP {
            return .drop(.unknownTCP)
        }
        // A later fragment has no ports and no payload: rules that are not about fragments would
        // judge it by less than its first.
        var follows = false
        if packet.isLaterFragment, policy.fragments == .followFirst {
            let fate = fates[fate(of: packet, context.now)]
            if fate == .dropped { return .drop(.fragment) }
            follows = fate == .forwarded
        }
        if policy.ruleCount > 0, policy.collect(packet, flow, direction, &found) {
            if let verdict = act(policy, &packet, &flow, context, follows: follows) {
                if packet.isFragment { remember(policy, packet, verdict, context.now) }
                return verdict
            }
        }
        return packet.isFragment
            ? decideFragment(policy, packet, context.now) : policy.defaultVerdict
    }

    /// Lets the rules found act in order, and leaves the set empty. Nil when none decided.
    ///
    /// - Parameter follows: a later fragment whose first was forwarded: of the rules, only those
    ///   about fragments decide, and those that limit, since they count packets.
    private mutating func act(
        _ policy: borrowing CompiledPolicy, _ packet: inout Packet, _ flow: inout RuleFlow,
        _ context: borrowing ProcessorContext, follows: Bool
    ) -> Verdict? {
        var verdict: Verdict?
        while let index = found.popFirst() {
            // What stands behind the rule that decided was found before it.
            guard verdict == nil else { continue }
            let rule = policy.rules[index]
            if rule.limit >= 0,
                !spender.exceeds(policy.limits[Int(rule.limit)], packet, &flow, context.now)
            {
                continue
            }
            root.hits.add(policy.firstHit &+ index, worker: worker)
            if rule.isLogged { emit(policy, index, rule.isDryRun, packet, context.now) }
            guard !rule.isDryRun else { continue }
            verdict = policy.replace(rule, &packet)
            guard verdict == nil, !follows || rule.isAboutFragments || rule.limit >= 0 else {
                continue
            }
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
        _ policy: borrowing CompiledPolicy, _ packet: borrowing Packet, _ now: UInt64
    ) -> Verdict {
        guard packet.isLaterFragment else {
            let verdict = policy.defaultVerdict
            remember(policy, packet, verdict, now)
            return verdict
        }
        switch policy.fragments {
        case .forward: return .forward
        case .drop: return .drop(.fragment)
        case .followFirst:
            switch fates[fate(of: packet, now)] {
            case .forwarded: return .forward
            case .dropped: return .drop(.fragment)
            case .unknown: return policy.defaultVerdict
            }
        }
    }

    /// Keeps the verdict on a first fragment for those that follow.
    private mutating func remember(
        _ policy: borrowing CompiledPolicy, _ packet: borrowing Packet, _ verdict: Verdict,
        _ now: UInt64
    ) {
        guard policy.fragments == .followFirst, !packet.isLaterFragment else { return }
        fates[fate(of: packet, now)] = verdict == .forward ? .forwarded : .dropped
    }

    /// The entry of the packet that a fragment belongs to: endpoint, addresses, protocol and
    /// identification (RFC 791 §2.3, RFC 8200 §4.5), by direction.
    private mutating func fate(of packet: borrowing Packet, _ now: UInt64) -> Int {
        let layout = packet.layout
        let identification = packet.fragmentIdentification
        var key = FlowKey(
            endpoint: layout.options.endpoint, version: layout.version,
            protocolNumber: layout.flowProtocol, source: layout.source,
            destination: layout.destination, sourcePort: 0, destinationPort: 0, isFragment: true)
        key.lowPort = UInt16(truncatingIfNeeded: identification)
        key.highPort = UInt16(truncatingIfNeeded: identification &>> 16)
        key.fragment = FlowKey.isLow(layout.source, 0, layout.destination, 0) ? 1 : 2
        return fates.find(key, cookie: 0, now: now).slot
    }

    // ---- Events.

    private mutating func emit(
        _ policy: borrowing CompiledPolicy, _ index: Int, _ isDryRun: Bool,
        _ packet: borrowing Packet, _ now: UInt64
    ) {
        if now &- second >= 1_000_000_000 {
            second = now
            eventsLeft = Rules.eventsPerSecond
        }
        guard eventsLeft > 0 else { return reader.events.lose() }
        eventsLeft &-= 1
        reader.events.put(
            RuleEvent(
                generation: root.generation, rule: policy.firstHit &+ index, isDryRun: isDryRun,
                endpoint: packet.endpoint, version: packet.version,
                protocolNumber: packet.protocolNumber, source: packet.source,
                destination: packet.destination, sourcePort: packet.sourcePort,
                destinationPort: packet.destinationPort, length: packet.length))
    }
}

extension CompiledPolicy {
    @inline(__always)
    fileprivate var defaultVerdict: Verdict { dropsByDefault ? .drop(.default) : .forward }

    /// Collects the rules that match the packet, at least up to the first that decides.
    fileprivate func collect(
        _ packet: borrowing Packet, _ flow: RuleFlow, _ direction: FlowDirection,
        _ found: inout RuleSet
    ) -> Bool {
        let rows = PacketRows(self, packet)
        var end = ruleCount
        for group in 0..<summaryCount {
            var summary = rows.and(group)
            while summary != 0 {
                let word = group &<< 6 | summary.trailingZeroBitCount
                summary &= summary &- 1
                var bits = rows.and(summaryCount &+ word)
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
        return !found.isEmpty
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
        if !rule.lengths.isEmpty, !isAnyLength(rule.lengths, packet.length) { return false }
        return rule.strings.isEmpty || containsAny(rule, packet)
    }

    private func isAnyLength(_ slice: CompiledRule.Slice, _ length: Int) -> Bool {
        for i in Int(slice.first)..<Int(slice.end)
        where Int(lengths[i].lowest) <= length && length <= Int(lengths[i].highest) {
            return true
        }
        return false
    }

    private func containsAny(_ rule: CompiledRule, _ packet: borrowing Packet) -> Bool {
        for i in Int(rule.strings.first)..<Int(rule.strings.end) {
            if rule.ignoresCase {
                if packet.contains(needle(strings[i]), ignoringCase: true) { return true }
            } else if packet.contains(needle(strings[i])) {
                return true
            }
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

/// The rows of one packet: their AND, word by word, are the rules it may match.
private struct PacketRows: BitwiseCopyable {
    private let words: Table<UInt64>
    private let protocols: Int
    private let tcpFlags: Int
    private let fragments: Int
    private let endpoints: Int
    private let sourcePorts: Int
    private let destinationPorts: Int
    private let eitherPort: (Int, Int)
    private let source: Int
    private let destination: Int
    private let eitherAddress: (Int, Int)

    @inline(__always)
    init(_ policy: borrowing CompiledPolicy, _ packet: borrowing Packet) {
        // Field by field: a copy of the layout would cost more than all lookups.
        let stride = policy.summaryCount &+ policy.wordCount
        let every = policy.everyRule &* stride
        let asked = policy.properties
        let isIPv6 = packet.version == 6
        words = policy.words
        protocols =
            Int(policy.protocols[(isIPv6 ? 256 : 0) &+ Int(packet.protocolNumber)]) &* stride
        tcpFlags =
            asked.contains(.tcpFlags)
            ? Int(policy.tcpFlags[packet.hasTCPFlags ? Int(packet.tcpFlags) : 256]) &* stride
            : every
        fragments =
            asked.contains(.fragments)
            ? Int(policy.fragmentKinds[packet.fragmentKind.rawValue]) &* stride : every
        endpoints =
            asked.contains(.endpoints)
            ? policy.endpoints.value(packet.endpoint) &* stride : every
        if packet.layout.hasPorts {
            sourcePorts =
                asked.contains(.sourcePorts)
                ? policy.sourcePorts.row(packet.sourcePort) &* stride : every
            destinationPorts =
                asked.contains(.destinationPorts)
                ? policy.destinationPorts.row(packet.destinationPort) &* stride : every
            eitherPort =
                asked.contains(.ports)
                ? (
                    policy.ports.row(packet.sourcePort) &* stride,
                    policy.ports.row(packet.destinationPort) &* stride
                ) : (every, every)
        } else {
            sourcePorts = policy.portless &* stride
            destinationPorts = every
            eitherPort = (every, every)
        }
        source =
            asked.contains(.source)
            ? policy.source.row(packet.source, isIPv6: isIPv6) &* stride : every
        destination =
            asked.contains(.destination)
            ? policy.destination.row(packet.destination, isIPv6: isIPv6) &* stride : every
        eitherAddress =
            asked.contains(.address)
            ? (
                policy.address.row(packet.source, isIPv6: isIPv6) &* stride,
                policy.address.row(packet.destination, isIPv6: isIPv6) &* stride
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
