import Dataplane
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
    private static let fragmentCapacity = 16_384
    /// How long, nanoseconds: RFC 791 suggests 15 s for reassembly, hosts use up to 30.
    private static let fragmentIdle: UInt64 = 30_000_000_000
    /// Its configuration: a policy, compiled.
    public struct Configuration: Decodable, Sendable {
        let policy: PolicySnapshot

        public init(_ policy: PolicySnapshot) { self.policy = policy }

        /// Counters and limits are there for a number of workers.
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
    /// Until then a fragment may have been forgotten that still counts.
    private var forgetsUntil: UInt64 = 0
    private var found: RuleSet
    private var payload: PayloadFindings
    private var spender: RateSpender
    /// What each rule may still log, by index.
    private let allowances: FixedTable<LogAllowance>

    /// Memory of one worker's rules beside its flow table and the snapshot, bytes.
    public static var byteCount: Int {
        FlowTable<FragmentFate>.byteCount(capacity: fragmentCapacity) + capacity / 8
            + capacity * MemoryLayout<LogAllowance>.stride
    }

    /// - Throws: `IOFailure`, ENOMEM.
    public init(configuration: Configuration, worker: Int) throws {
        let found = try RuleSet(capacity: Rules.capacity)
        let payload = try PayloadFindings()
        var fates = try FlowTable<FragmentFate>(
            capacity: Rules.fragmentCapacity, node: -1, seed: UInt64.random(in: .min ... .max),
            fresh: FragmentFate(), lifetimes: FlowLifetimes(all: Rules.fragmentIdle))
        // Else whoever sends many fragments could have those of others forgotten, as a host's own
        // memory for reassembly takes no more when it is full.
        fates.evictsLiveFlows = false
        configuration.check(worker)
        self.worker = worker
        self.configuration = configuration
        self.found = found
        self.payload = payload
        self.fates = fates
        spender = RateSpender(worker: worker)
        allowances = FixedTable(count: Rules.capacity, repeating: LogAllowance())
        root = configuration.policy.copyRoot()
    }

    public mutating func startBurst() { spender.startBurst() }

    public mutating func adopt(_ configuration: Configuration) {
        configuration.check(worker)
        self.configuration = configuration
        root = configuration.policy.copyRoot()
    }

    public static var decidesByPolicy: Bool { true }

    /// The control side knows the names of the rules of every generation.
    public static func handle(_ event: RuleEvent, log: EventLog) { log.event(event) }

    public static var newFlow: RuleFlow { RuleFlow() }

    public static func isLive(_ flow: RuleFlow, fromLow: Bool) -> Bool {
        flow.forwarded & FlowDirection(isLow: fromLow).bit != 0
    }

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
            root.hasEndpointPolicies && options.hasEndpoint
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
        if policy.dropsUnknownTCP, packet.isMidFlowTCP,
            flow.forwarded == 0 || packet.layout.isKeyedAsFragment
        {
            return .drop(.unknownTCP)
        }
        var fate = FragmentFate.Verdict.unknown
        if packet.isFragment {
            if packet.hidesItsHeader(isFollowed: policy.fragments == .followFirst) {
                return .drop(.fragment)
            }
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
    ///   about fragments or by what each fragment has for itself decide, and those that limit, since
    ///   they count packets.
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
            if follows, rule.terminal != nil, rule.limit < 0, !rule.decidesLaterFragments {
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
        guard let entry = entry(of: packet, position, now) else { return .dropped }
        let verdict = fates[entry].noteLater(position)
        if verdict == .forwarded, fates[entry].isComplete { fates.close(entry) }
        return verdict == .unknown && now < forgetsUntil ? .dropped : verdict
    }

    /// Keeps the verdict on a first fragment for those that follow.
    private mutating func noteFirst(
        _ policy: borrowing CompiledPolicy, _ packet: borrowing Packet, _ verdict: Verdict,
        _ now: UInt64
    ) -> Verdict {
        guard policy.fragments == .followFirst, !packet.isLaterFragment else { return verdict }
        let position = packet.fragmentPosition
        guard let entry = entry(of: packet, position, now) else { return .drop(.fragment) }
        let passes = fates[entry].noteFirst(position, isForwarded: verdict == .forward)
        if passes, fates[entry].isComplete { fates.close(entry) }
        return verdict == .forward && !passes ? .drop(.fragment) : verdict
    }

    /// The entry of the packet that a fragment belongs to: endpoint, addresses, of IPv4 the protocol,
    /// and identification (RFC 791 §2.3, RFC 8200 §4.5), by direction. Nil when there is no room.
    private mutating func entry(
        of packet: borrowing Packet, _ position: FragmentPosition, _ now: UInt64
    ) -> Int? {
        let layout = packet.layout
        var key = FlowKey(
            endpoint: layout.options.endpoint, version: layout.version,
            protocolNumber: layout.version == 6 ? IPProtocol.ipv6Fragment : layout.protocolNumber,
            source: layout.source,
            destination: layout.destination, sourcePort: 0, destinationPort: 0, isFragment: true)
        key.lowPort = UInt16(truncatingIfNeeded: position.identification)
        key.highPort = UInt16(truncatingIfNeeded: position.identification &>> 16)
        key.fragment = FlowKey.isLow(layout.source, 0, layout.destination, 0) ? 1 : 2
        let found = fates.find(key, cookie: 0, now: now)
        // A packet that was complete made room: more of it may come all the same.
        if found.isEvicted { forgetsUntil = now &+ Rules.fragmentIdle }
        return found.slot >= 0 ? found.slot : nil
    }

    // ---- Events.

    private mutating func emit(
        _ policy: borrowing CompiledPolicy, _ index: Int, _ isDryRun: Bool,
        _ packet: borrowing Packet, _ context: borrowing Context
    ) {
        let rule = policy.firstHit &+ index
        // Sound: a policy has no more rules than the table.
        guard
            unsafe allowances.pointer(rule).pointee.spend(at: context.now, most: root.logLines)
        else { return context.loseEvent() }
        let action: RuleEvent.Action =
            switch policy.rules[index].terminal {
            case .forward: .forward
            case .drop: .drop
            case nil: .none
            }
        context.emit(
            RuleEvent(
                generation: root.generation, rule: rule, action: action, isDryRun: isDryRun,
                endpoint: packet.endpoint, version: packet.version,
                protocolNumber: packet.protocolNumber, source: packet.source,
                destination: packet.destination, sourcePort: packet.sourcePort,
                destinationPort: packet.destinationPort, length: packet.length,
                tcpFlags: packet.tcpFlags,
                icmp: packet.icmp.map { Int32($0.type) << 8 | Int32($0.code) } ?? -1))
    }
}

extension CodingUserInfoKey {
    /// The `PolicySnapshot` for `Rules.Configuration`.
    public static let policy = CodingUserInfoKey(rawValue: "sluice.policy")!
}

extension CompiledPolicy {
    @inline(__always)
    fileprivate var defaultVerdict: Verdict { dropsByDefault ? .drop(.default) : .forward }

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
