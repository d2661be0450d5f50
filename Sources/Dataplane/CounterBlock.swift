import CSluice
import PacketIO
import Synchronization

/// One worker's counters, on cache lines of their own in memory of the worker's node.
///
/// The worker is the only writer: an update is a relaxed load and a relaxed store, which is one
/// plain add. Anyone may read at any time; readers sum over workers. A block lives as long as
/// the process, so copies of this handle never dangle.
@safe public struct CounterBlock: @unchecked Sendable, BitwiseCopyable {
    /// Upper bounds of the burst histogram; one more bucket stands for +Inf.
    public static let burstBounds = [1, 2, 4, 8, 16, 32, 64]
    /// Endpoints counted one by one; further ones share the last entry.
    @inlinable public static var endpointCapacity: Int { 64 }

    @usableFromInline static let dropsBase = CounterID.allCases.count
    @usableFromInline static let burstBase = dropsBase + DropReason.allCases.count
    @usableFromInline static let rulesBase = burstBase + 8

    @usableFromInline let words: UnsafeMutablePointer<Atomic<UInt64>>
    /// First word of the drop counters, burst buckets, rules, endpoints: held here so that the
    /// packet path reads no global.
    @usableFromInline let drops: Int
    @usableFromInline let burstBuckets: Int
    @usableFromInline let rules: Int
    @usableFromInline let endpoints: Int
    public let ruleCount: Int
    public let partCount: Int

    /// The block of a worker with this processor. - Throws: ENOMEM.
    public init<Processor: PacketProcessor & ~Copyable>(
        _ type: Processor.Type, node: Int32 = -1
    ) throws(IOFailure) {
        try self.init(
            rules: Processor.ruleNames.count, parts: Processor.parts.count, node: node)
    }

    /// - Parameter parts: those of the processor. - Throws: ENOMEM.
    public init(rules count: Int, parts: Int = 1, node: Int32) throws(IOFailure) {
        ruleCount = count
        partCount = parts
        drops = CounterBlock.dropsBase
        burstBuckets = CounterBlock.burstBase
        rules = CounterBlock.rulesBase
        endpoints = CounterBlock.rulesBase + count
        let total =
            endpoints + CounterBlock.endpointTableWords + parts * CounterBlock.partWords
        // Whole pages: no other writer shares a cache line.
        let bytes = (total * 8 + 4095) & ~4095
        guard let memory = unsafe sluice_node_alloc(bytes, node) else {
            throw IOFailure("allocate \(bytes) bytes for counters", errno: ENOMEM)
        }
        unsafe words = memory.bindMemory(to: Atomic<UInt64>.self, capacity: total)
        for i in 0..<total { unsafe (words + i).initialize(to: Atomic(0)) }
    }

    // ---- The owner's side.

    @inlinable @inline(__always)
    func addWord(_ index: Int, _ amount: UInt64) {
        // Sound: every index comes from the fixed layout of init.
        let old = unsafe words[index].load(ordering: .relaxed)
        unsafe words[index].store(old &+ amount, ordering: .relaxed)
    }

    @inlinable @inline(__always)
    public func add(_ id: CounterID, _ amount: UInt64 = 1) { addWord(id.rawValue, amount) }

    @inlinable @inline(__always)
    public func set(_ id: CounterID, _ value: UInt64) {
        unsafe words[id.rawValue].store(value, ordering: .relaxed)
    }

    @inlinable @inline(__always)
    public func addDrop(_ reason: DropReason, _ amount: UInt64 = 1) {
        addWord(drops &+ Int(reason.rawValue), amount)
    }

    @inlinable @inline(__always)
    public func addBurst(of packets: Int) {
        add(.bursts)
        // 1 → 0, 2 → 1, 3…4 → 2, … 33…64 → 6, more → 7.
        let bucket = packets <= 1 ? 0 : min(7, 64 &- (packets &- 1).leadingZeroBitCount)
        addWord(burstBuckets &+ bucket, 1)
    }

    @inlinable @inline(__always)
    public func addRuleHit(_ rule: Int) {
        precondition(rule >= 0 && rule < ruleCount)
        addWord(rules &+ rule, 1)
    }

    // ---- Parts of the processor: a word for every byte that a counter's case may be, then two
    // for events.

    @inlinable static var partWords: Int { 264 }
    @inlinable static var emittedSlot: Int { 256 }
    @inlinable static var lostSlot: Int { 257 }

    @inlinable @inline(__always)
    func add(part: Int, slot: Int, _ amount: UInt64 = 1) {
        // Sound: the worker has checked that there is room for all parts; a slot is a byte or one
        // of the two above.
        addWord(
            endpoints &+ CounterBlock.endpointTableWords &+ part &* CounterBlock.partWords &+ slot,
            amount)
    }

    // ---- Endpoints: a small open-addressed table of {standing, id, forwarded, dropped}.
    //
    // An entry's standing, 0 = free, grows with the trains of packets of its endpoint; each train of
    // one that finds no room costs the least of those in its way one. So ids that somebody made up
    // give way to endpoints with traffic, and those stay (Misra and Gries, Finding repeated elements).

    @inlinable static var endpointWords: Int { 4 }
    @inlinable static var endpointTableWords: Int { endpointCapacity * endpointWords }
    @inlinable static var firstStanding: UInt64 { 64 }
    @inlinable static var highestStanding: UInt64 { 4096 }

    /// The entry of an endpoint (its first word), made on first sight. The last one takes all that
    /// find no room, and the counts of those that gave way.
    @inlinable
    public func endpointEntry(_ id: UInt64) -> Int {
        let last = CounterBlock.endpointCapacity &- 1
        let home = Int(truncatingIfNeeded: (id &* 0x9E37_79B9_7F4A_7C15) &>> 58) % last
        var entry = home
        var least = UInt64.max
        var weakest = 0
        for _ in 0..<8 {
            let word = endpoints &+ entry &* CounterBlock.endpointWords
            let standing = unsafe words[word].load(ordering: .relaxed)
            if standing == 0 {
                unsafe words[word &+ 1].store(id, ordering: .relaxed)
                // Readers see the id before they see the entry in use.
                unsafe words[word].store(CounterBlock.firstStanding, ordering: .releasing)
                return word
            }
            if unsafe words[word &+ 1].load(ordering: .relaxed) == id {
                let more = min(standing &+ 1, CounterBlock.highestStanding)
                unsafe words[word].store(more, ordering: .relaxed)
                return word
            }
            if standing < least { (least, weakest) = (standing, word) }
            entry = entry &+ 1 == last ? 0 : entry &+ 1
        }
        if least == 1 { return displace(weakest, id) }
        unsafe words[weakest].store(least &- 1, ordering: .relaxed)
        return shared()
    }

    /// The entry of all that have none of their own.
    @inlinable
    func shared() -> Int {
        let word = endpoints &+ (CounterBlock.endpointCapacity &- 1) &* CounterBlock.endpointWords
        unsafe words[word].store(1, ordering: .releasing)
        return word
    }

    /// Gives an entry to another endpoint; what it has counted goes to the shared one. A reader that
    /// sees a part of that sees the entry free, or another id, when it looks again.
    @inlinable @inline(never)
    func displace(_ word: Int, _ id: UInt64) -> Int {
        let shared = shared()
        for i in 2...3 { addWord(shared &+ i, unsafe words[word &+ i].load(ordering: .relaxed)) }
        unsafe words[word].store(0, ordering: .relaxed)
        unsafe words[word &+ 1].store(id, ordering: .releasing)
        for i in 2...3 { unsafe words[word &+ i].store(0, ordering: .releasing) }
        unsafe words[word].store(1, ordering: .releasing)
        return word
    }

    @inlinable @inline(__always)
    public func addEndpoint(_ entry: Int, isForwarded: Bool) {
        addWord(entry &+ (isForwarded ? 2 : 3), 1)
    }

    // ---- The readers' side.

    public func read(_ id: CounterID) -> UInt64 { readWord(id.rawValue) }
    public func read(_ reason: DropReason) -> UInt64 { readWord(drops + Int(reason.rawValue)) }
    public func readRule(_ rule: Int) -> UInt64 { readWord(rules + rule) }

    /// - Parameter slot: see `ProcessorPart.counters`.
    public func read(part: Int, slot: Int) -> UInt64 {
        precondition(part >= 0 && part < partCount && slot >= 0 && slot < CounterBlock.partWords)
        return readWord(
            endpoints + CounterBlock.endpointTableWords + part * CounterBlock.partWords + slot)
    }

    /// Events that a part emitted, and how many of its events were lost.
    public func readEvents(part: Int) -> (emitted: UInt64, lost: UInt64) {
        (
            read(part: part, slot: CounterBlock.emittedSlot),
            read(part: part, slot: CounterBlock.lostSlot)
        )
    }

    /// Bursts by size: one count for each of `burstBounds`, then the larger ones; not cumulative.
    public func readBursts() -> [UInt64] { (0..<8).map { readWord(burstBuckets + $0) } }

    public struct EndpointCount: Equatable, Sendable {
        /// Nil for the entry that all further endpoints share.
        public var endpoint: UInt64?
        public var forwarded: UInt64
        public var dropped: UInt64
    }

    public func readEndpoints() -> [EndpointCount] {
        (0..<CounterBlock.endpointCapacity).compactMap { entry in
            let word = endpoints + entry * CounterBlock.endpointWords
            guard readNow(word) != 0 else { return nil }
            let id = readNow(word + 1)
            let count = EndpointCount(
                endpoint: entry == CounterBlock.endpointCapacity - 1 ? nil : id,
                forwarded: readNow(word + 2), dropped: readNow(word + 3))
            // It went to another endpoint meanwhile.
            guard readNow(word) != 0, readNow(word + 1) == id else { return nil }
            return count
        }
    }

    /// What is read later is not older.
    private func readNow(_ index: Int) -> UInt64 {
        unsafe words[index].load(ordering: .acquiring)
    }

    private func readWord(_ index: Int) -> UInt64 {
        unsafe words[index].load(ordering: .relaxed)
    }
}
