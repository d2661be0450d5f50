import CSluice
import PacketIO
import Synchronization
import Wire

/// One generation of the configuration in the form that workers read: compiled policies, settings
/// and hit counters. Immutable but for the counters. Made and kept by the control side; workers
/// see it through a `PolicySource`.
@safe public final class PolicySnapshot: @unchecked Sendable {
    public let generation: UInt64
    /// In the order of the hit counters.
    public let ruleNames: [String]
    private let memory = TableMemory()
    private let hits: HitCounters
    /// What workers read first.
    @usableFromInline let root: UnsafeMutablePointer<SnapshotRoot>
    private static let liveCount = Atomic(0)
    /// Snapshots in memory, in this process: one, and those that a worker may still read.
    public static var live: Int { liveCount.load(ordering: .relaxed) }

    /// - Parameters:
    ///   - settings: taken over with the policy; the allowed sources are freed with the snapshot.
    ///   - workers: how many workers will read it.
    /// - Throws: ENOMEM.
    public init(
        _ set: PolicySet, settings: PathSettings, generation: UInt64, workers: Int
    ) throws(IOFailure) {
        self.generation = generation
        ruleNames = set.rules.map(\.name)
        hits = try HitCounters(rules: ruleNames.count, workers: workers)
        let policies = set.policies
        let compiled = unsafe memory.room(for: CompiledPolicy.self, policies.count)
        var firstHit = 0
        for (i, policy) in policies.enumerated() {
            // Sound: there is room for all policies.
            unsafe (compiled + i).initialize(
                to: CompiledPolicy(policy, firstHit: firstHit, memory))
            firstHit += policy.rules.count
        }
        var indices: [UInt64: UInt32] = [:]
        for (i, endpoint) in set.endpoints.keys.sorted().enumerated() {
            indices[endpoint] = UInt32(i + 1)
        }
        unsafe root = .allocate(capacity: 1)
        unsafe root.initialize(
            to: SnapshotRoot(
                generation: generation, settings: settings,
                policies: unsafe PolicyList(compiled, policies.count),
                policyOfEndpoint: EndpointTable(indices, other: 0, memory),
                hasEndpointPolicies: !indices.isEmpty, hits: hits))
        PolicySnapshot.liveCount.add(1, ordering: .relaxed)
    }

    deinit {
        PolicySnapshot.liveCount.subtract(1, ordering: .relaxed)
        unsafe root.pointee.settings.allowedSources.free()
        unsafe root.deallocate()
        hits.free()
    }

    /// Bytes of the tables.
    public var byteCount: Int { memory.byteCount }

    /// Packets that the rule matched so far, all workers together.
    public func hits(rule: Int) -> UInt64 { hits.read(rule) }
}

/// What a worker copies when it adopts a snapshot.
@usableFromInline
struct SnapshotRoot: BitwiseCopyable {
    var generation: UInt64
    var settings: PathSettings
    let policies: PolicyList
    let policyOfEndpoint: EndpointTable
    let hasEndpointPolicies: Bool
    let hits: HitCounters
}

/// The policies of a snapshot, which outlives every use.
@safe struct PolicyList: @unchecked Sendable, BitwiseCopyable {
    private let start: UnsafePointer<CompiledPolicy>
    private let count: Int

    @unsafe init(_ start: UnsafePointer<CompiledPolicy>, _ count: Int) {
        unsafe self.start = start
        self.count = count
    }

    /// Where a policy lies, so that it is used without a copy.
    @unsafe @inline(__always)
    func pointer(_ index: Int) -> UnsafePointer<CompiledPolicy> {
        assert(index >= 0 && index < count)
        return unsafe start + index
    }
}

/// Hits of every rule by every worker; each worker's on cache lines of its own.
@safe struct HitCounters: @unchecked Sendable, BitwiseCopyable {
    private let words: UnsafeMutablePointer<Atomic<UInt64>>
    private let bytes: Int
    private let rules: Int
    private let workers: Int
    private var stride: Int { (rules + 15) & ~15 }

    init(rules: Int, workers: Int) throws(IOFailure) {
        self.rules = rules
        self.workers = workers
        let count = max(16, ((rules + 15) & ~15) * workers)
        bytes = count * 8
        guard let memory = unsafe sluice_node_alloc(bytes, -1) else {
            throw IOFailure("allocate \(bytes) bytes for rule counters", errno: ENOMEM)
        }
        unsafe words = memory.bindMemory(to: Atomic<UInt64>.self, capacity: count)
        for i in 0..<count { unsafe (words + i).initialize(to: Atomic(0)) }
    }

    func free() { unsafe sluice_node_free(words, bytes) }

    /// Only the worker itself adds: a plain load and store.
    @inline(__always)
    func add(_ rule: Int, worker: Int) {
        assert(rule < rules && worker < workers)
        // Sound: rule < rules, worker < workers.
        let word = unsafe words + (worker &* stride &+ rule)
        unsafe word.pointee.store(word.pointee.load(ordering: .relaxed) &+ 1, ordering: .relaxed)
    }

    func read(_ rule: Int) -> UInt64 {
        // Sound: as add.
        (0..<workers).reduce(0) {
            unsafe $0 + words[$1 * stride + rule].load(ordering: .relaxed)
        }
    }
}

/// Hands snapshots from the control side to the workers, and events back.
///
/// A worker looks for a new snapshot once per burst and says which generation it has adopted; the
/// control side frees the old one when all have moved on. Lives as long as the workers.
@safe public final class PolicySource: @unchecked Sendable {
    private let workers: Int
    private let cells: UnsafeMutablePointer<SourceCell>
    private let events: [EventRing]

    /// - Throws: ENOMEM.
    public init(workers: Int, _ first: PolicySnapshot) throws(IOFailure) {
        self.workers = workers
        var events: [EventRing] = []
        for _ in 0..<workers { events.append(try EventRing()) }
        self.events = events
        unsafe cells = .allocate(capacity: workers)
        for worker in 0..<workers {
            unsafe (cells + worker).initialize(to: SourceCell(first.root))
        }
    }

    deinit {
        for ring in events { ring.free() }
        unsafe cells.deinitialize(count: workers)
        unsafe cells.deallocate()
    }

    /// Makes the snapshot the one that workers adopt at their next burst.
    public func publish(_ snapshot: PolicySnapshot) {
        for worker in 0..<workers {
            let address = unsafe UInt(bitPattern: snapshot.root)
            unsafe cells[worker].current.store(address, ordering: .releasing)
        }
    }

    /// The generation that a worker has adopted; 0 before its first burst.
    public func generation(of worker: Int) -> UInt64 {
        unsafe cells[worker].adopted.load(ordering: .acquiring)
    }

    /// Takes the events that workers have emitted, and how many found no room or were too many.
    public func takeEvents(_ body: (RuleEvent) -> Void) -> UInt64 {
        events.reduce(0) { $0 + $1.take(body) }
    }

    /// What worker `index` reads.
    @usableFromInline
    func reader(_ index: Int) -> SourceReader {
        precondition(index >= 0 && index < workers)
        return unsafe SourceReader(cell: cells + index, events: events[index])
    }
}

/// What control side and one worker share, on cache lines of its own.
@usableFromInline
struct SourceCell: ~Copyable {
    /// Address of a `SnapshotRoot`.
    let current: Atomic<UInt>
    /// Written by the worker.
    let adopted = Atomic<UInt64>(0)
    private let padding: (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0, 0, 0)
    private let more: (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, UInt64) =
        (0, 0, 0, 0, 0, 0, 0, 0)

    init(_ root: UnsafeMutablePointer<SnapshotRoot>) {
        current = Atomic(UInt(bitPattern: root))
    }
}

/// A worker's side of a `PolicySource`, which outlives it.
@safe @usableFromInline
struct SourceReader: @unchecked Sendable, BitwiseCopyable {
    private let cell: UnsafeMutablePointer<SourceCell>
    let events: EventRing

    @unsafe init(cell: UnsafeMutablePointer<SourceCell>, events: EventRing) {
        unsafe self.cell = cell
        self.events = events
    }

    /// Address of the snapshot in force.
    @inline(__always)
    var current: UInt { unsafe cell.pointee.current.load(ordering: .acquiring) }

    /// The snapshot at an address that `current` gave. The one adopted before may go after this.
    func adopt(_ address: UInt) -> SnapshotRoot {
        // Sound: the control side frees a snapshot only after every worker adopted a later one.
        let root = unsafe UnsafePointer<SnapshotRoot>(bitPattern: address)!.pointee
        unsafe cell.pointee.adopted.store(root.generation, ordering: .releasing)
        return root
    }
}
