import CSluice
import Dataplane
import PacketIO
import Synchronization
import Wire

/// One generation of the policy in the form that workers read: compiled policies and hit counters.
/// Immutable but for the counters.
@safe public final class PolicySnapshot: @unchecked Sendable {
    public let generation: UInt64
    /// In the order of the hit counters.
    public let ruleNames: [String]
    /// So many may read it.
    let workers: Int
    private let memory = TableMemory()
    private let hits: HitCounters
    private let rates: [RateMemory]
    /// What workers read first.
    private let root: UnsafeMutablePointer<SnapshotRoot>
    private static let liveCount = Atomic(0)
    /// Snapshots in memory, in this process: one, and those that a worker may still read.
    public static var live: Int { liveCount.load(ordering: .relaxed) }

    /// - Parameters:
    ///   - workers: how many workers will read it.
    ///   - earlier: the snapshot that this one takes the place of: limits that stay the same go on
    ///     where they are.
    /// - Throws: `PolicyExcess`; `IOFailure`, ENOMEM.
    public init(
        _ set: PolicySet, generation: UInt64, workers: Int, after earlier: PolicySnapshot? = nil
    ) throws {
        for policy in set.policies {
            if let excess = policy.excess { throw PolicyExcess(excess) }
        }
        self.generation = generation
        self.workers = workers
        ruleNames = set.rules.map(\.name)
        let policies = set.policies
        rates = try RateMemory.of(policies, workers: workers, earlier: earlier?.rates ?? [])
        var limits = rates.map(\.limit)[...]
        let compiled = unsafe memory.room(for: CompiledPolicy.self, policies.count)
        var firstHit = 0
        for (i, policy) in policies.enumerated() {
            let count = policy.rules.count { $0.match.rate != nil }
            // Sound: there is room for all policies.
            let tables = try CompiledPolicy(
                policy, firstHit: firstHit, limits: Array(limits.prefix(count)),
                workers: workers, memory)
            unsafe (compiled + i).initialize(to: tables)
            limits = limits.dropFirst(count)
            firstHit += policy.rules.count
        }
        var indices: [UInt64: UInt32] = [:]
        for (i, endpoint) in set.endpoints.keys.sorted().enumerated() {
            indices[endpoint] = UInt32(i + 1)
        }
        hits = try HitCounters(rules: ruleNames.count, workers: workers)
        unsafe root = .allocate(capacity: 1)
        unsafe root.initialize(
            to: SnapshotRoot(
                generation: generation,
                policies: unsafe PolicyList(compiled, policies.count),
                policyOfEndpoint: EndpointTable(indices, other: 0, memory),
                hasEndpointPolicies: !indices.isEmpty, hits: hits,
                logLines: UInt32(clamping: set.logLines)))
        PolicySnapshot.liveCount.add(1, ordering: .relaxed)
    }

    deinit {
        PolicySnapshot.liveCount.subtract(1, ordering: .relaxed)
        unsafe root.deallocate()
        hits.free()
    }

    /// What a worker keeps of it; good as long as the snapshot.
    func copyRoot() -> SnapshotRoot { unsafe root.pointee }

    /// Bytes of the tables, buckets of limits included.
    public var byteCount: Int { rates.reduce(memory.byteCount) { $0 + $1.byteCount } }

    /// Packets that the rule matched so far, all workers together.
    public func hits(rule: Int) -> UInt64 { hits.read(rule) }
}

/// What a worker copies when it adopts a snapshot.
@usableFromInline
struct SnapshotRoot: BitwiseCopyable {
    var generation: UInt64
    let policies: PolicyList
    let policyOfEndpoint: EndpointTable
    let hasEndpointPolicies: Bool
    let hits: HitCounters
    let logLines: UInt32
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
