import CSluice
import PacketIO
import Synchronization
import Wire

/// All payload strings of one policy, each once, and the rules that ask for them.
///
/// A payload is searched once for all of them; the strings found select the rules. A few short
/// strings are faster found one after the other, 32 positions at a time; all others by an
/// automaton, one for each way to read letters.
struct PayloadTable: ~Copyable {
    /// As in a `CompiledPolicy`.
    private let staysInPlace = Atomic<Bool>(true)
    /// No rule asks for a string.
    let isEmpty: Bool
    /// The row of the rules that ask for one, and of the others.
    let askingRow: Int
    let otherRow: Int
    /// By string: the rules that it selects, as some of `selected`.
    private let selections: Table<CompiledRule.Slice>
    private let selected: Table<RuleWord>
    /// Searched one after the other; the string's number is its index.
    private let singles: Table<ByteString>
    private let bytes: Table<UInt8>
    private let exact: StringAutomaton?
    private let folded: StringAutomaton?
    #if Vectorscan
        private let library: VectorscanStrings?
    #endif

    /// Some bits of a row.
    struct RuleWord: BitwiseCopyable {
        var bits: UInt64
        var word: Int
    }

    /// Strings that are searched one by one: more of them cost more than the automaton.
    private static let mostSingles = 8
    /// Longer ones are left to the automaton: a comparison that begins at many places of a payload
    /// must end soon.
    private static let longestSingle = 64

    /// - Parameters:
    ///   - payloads: by bit.
    ///   - workers: how many will search.
    ///   - mayUseLibrary: where one has been compiled in.
    init(
        _ payloads: [Match.Payload?], askingRow: Int, otherRow: Int, workers: Int,
        mayUseLibrary: Bool = true, _ memory: TableMemory
    ) {
        self.askingRow = askingRow
        self.otherRow = otherRow
        var rules: [PayloadString: [Int]] = [:]
        for (bit, payload) in payloads.enumerated() {
            for string in Set(payload?.distinct ?? []) { rules[string, default: []].append(bit) }
        }
        isEmpty = rules.isEmpty
        // Sorted, so that equal policies make equal tables.
        let strings = rules.keys.sorted()
        let exact = strings.filter { !$0.ignoresCase }
        let areSingles =
            exact.count <= PayloadTable.mostSingles
            && exact.allSatisfy { $0.bytes.count <= PayloadTable.longestSingle }
        // `exact` comes first: its numbers are its indices.
        let numbered = strings.enumerated().map { (bytes: $1.bytes, id: UInt32($0)) }
        func automaton(_ part: ArraySlice<(bytes: [UInt8], id: UInt32)>, _ ignoresCase: Bool)
            -> StringAutomaton?
        {
            part.isEmpty
                ? nil : StringAutomaton(Array(part), ignoresCase: ignoresCase, memory)
        }
        var isBuiltIn = true
        #if Vectorscan
            let library =
                mayUseLibrary && strings.count >= VectorscanStrings.fewest
                ? VectorscanStrings(
                    strings.map { ($0.bytes, $0.ignoresCase) }, workers: workers, memory) : nil
            self.library = library
            isBuiltIn = library == nil
        #endif
        self.exact =
            areSingles || !isBuiltIn ? nil : automaton(numbered[..<exact.count], false)
        folded = isBuiltIn ? automaton(numbered[exact.count...], true) : nil
        var bytes: [UInt8] = []
        singles = memory.table(
            (areSingles && isBuiltIn ? exact : []).map { string in
                defer { bytes += string.bytes }
                return ByteString(
                    start: UInt32(bytes.count), count: UInt32(string.bytes.count))
            })
        self.bytes = memory.table(bytes)
        var selected: [RuleWord] = []
        selections = memory.table(
            strings.map { string in
                let first = UInt32(selected.count)
                for bit in rules[string]! {
                    if selected.count == Int(first) || selected.last?.word != bit >> 6 {
                        selected.append(RuleWord(bits: 0, word: bit >> 6))
                    }
                    selected[selected.count - 1].bits |= 1 << UInt64(bit & 63)
                }
                return CompiledRule.Slice(first: first, end: UInt32(selected.count))
            })
        self.selected = memory.table(selected)
    }

    /// Finds out which strings stand in [start, end), which the caller has guarded.
    func scan(
        _ view: PacketView, from start: Int, to end: Int, worker: Int,
        _ found: inout PayloadFindings
    ) {
        #if Vectorscan
            if let library {
                // Sound: the payload is guarded.
                return unsafe library.scan(
                    UnsafePointer(view.pointer(start).assumingMemoryBound(to: UInt8.self)),
                    count: end &- start, worker: worker
                ) { _ = note($0, &found) }
            }
        #endif
        for i in 0..<singles.count where contains(singles[i], view, start, end) {
            _ = note(i, &found)
        }
        exact?.scan(view, from: start, to: end, self, &found)
        folded?.scan(view, from: start, to: end, self, &found)
    }

    @inline(__always)
    private func contains(_ string: ByteString, _ view: PacketView, _ start: Int, _ end: Int)
        -> Bool
    {
        // Sound: the payload is guarded, and the string's bytes belong to the snapshot.
        unsafe sluice_find(
            UnsafePointer(view.pointer(start).assumingMemoryBound(to: UInt8.self)), end &- start,
            bytes.pointer(Int(string.start)), Int(string.count)) >= 0
    }

    /// A string was found: selects its rules. False when it had been found before.
    @inline(__always)
    func note(_ string: Int, _ found: inout PayloadFindings) -> Bool {
        guard found.strings.insert(string) else { return false }
        let slice = selections[string]
        for i in Int(slice.first)..<Int(slice.end) {
            let part = selected[i]
            found.rules.insert(part.bits, at: part.word)
        }
        return true
    }
}

/// A string as rules ask for it.
private struct PayloadString: Hashable, Comparable {
    var ignoresCase: Bool
    var bytes: [UInt8]

    static func < (a: PayloadString, b: PayloadString) -> Bool {
        guard a.ignoresCase == b.ignoresCase else { return b.ignoresCase }
        return a.bytes.lexicographicallyPrecedes(b.bytes)
    }
}

extension Match.Payload {
    /// In small letters when case is ignored.
    fileprivate var distinct: [PayloadString] {
        strings.filter { !$0.isEmpty }.map {
            PayloadString(
                ignoresCase: ignoresCase, bytes: ignoresCase ? $0.map(ASCII.lowercase) : $0)
        }
    }
}

extension PolicySet {
    /// Distinct payload strings of one policy.
    public static let mostPayloadStrings = 1 << 18
    /// Bytes of all payload strings of one policy: an automaton takes up to 16 times as much, and
    /// as much again while it is made.
    public static let mostPayloadBytes = 4 << 20
}

extension Policy {
    /// What keeps it from being compiled: more of something than there is room for, or a condition
    /// in `not` that cannot stand there. Nil = nothing.
    public var excess: String? {
        guard rules.count <= Rules.capacity else {
            return "\(rules.count) rules, but \(Rules.capacity) are the most"
        }
        var count = 0
        var bytes = 0
        for rule in rules {
            for condition in rule.match.not?.conditions ?? []
            where Match.Key.refusedInNot.contains(condition.key) {
                return "rule '\(rule.name)': \(condition.key.rawValue) cannot stand in not"
            }
            count += rule.match.payload?.strings.count ?? 0
            bytes += rule.match.payload?.strings.reduce(0) { $0 + $1.count } ?? 0
            bytes += rule.replacements.reduce(0) { $0 + $1.find.count + $1.with.count }
        }
        if count > PolicySet.mostPayloadStrings {
            return "\(count) payload strings, but \(PolicySet.mostPayloadStrings) are the most"
        }
        if bytes > PolicySet.mostPayloadBytes {
            return "payload strings of \(bytes) bytes in all, "
                + "but \(PolicySet.mostPayloadBytes) are the most"
        }
        return nil
    }
}

/// What was found in the payload of one packet: the strings, and the rules that they select by
/// bit. Empty between packets.
@usableFromInline
struct PayloadFindings: ~Copyable {
    var strings: BitField
    var rules: BitField

    /// - Throws: ENOMEM.
    init() throws(IOFailure) {
        let strings = try BitField(capacity: PolicySet.mostPayloadStrings)
        let rules = try BitField(capacity: Rules.capacity)
        self.strings = strings
        self.rules = rules
    }

    @inline(__always)
    mutating func clear() {
        strings.clear()
        rules.clear()
    }
}

/// Bits in memory of its own, with one for each word that is not zero, so that they are cleared at
/// the cost of what was set.
@safe struct BitField: ~Copyable {
    private let words: UnsafeMutablePointer<UInt64>
    private let summaries: UnsafeMutablePointer<UInt64>
    private let count: Int
    /// Summaries that may hold bits: low ..< high.
    private var low: Int
    private var high = 0

    /// - Parameter capacity: a multiple of 4096.
    /// - Throws: ENOMEM.
    init(capacity: Int) throws(IOFailure) {
        count = capacity / 64
        low = count / 64
        let bytes = (count + count / 64) * 8
        guard let memory = unsafe sluice_node_alloc(bytes, -1) else {
            throw IOFailure("allocate \(bytes) bytes for rules", errno: ENOMEM)
        }
        unsafe words = memory.bindMemory(to: UInt64.self, capacity: count + count / 64)
        unsafe summaries = words + count
    }

    deinit { unsafe sluice_node_free(words, (count &+ count / 64) &* 8) }

    @inline(__always)
    subscript(word: Int) -> UInt64 {
        assert(word >= 0 && word < count)
        // Sound: the snapshot's maker has checked how many rules and strings there are.
        return unsafe words[word]
    }

    /// Which of 64 words are not zero.
    @inline(__always)
    func summary(_ group: Int) -> UInt64 {
        assert(group >= 0 && group < count / 64)
        // Sound: as the subscript.
        return unsafe summaries[group]
    }

    @inline(__always)
    mutating func insert(_ bits: UInt64, at word: Int) {
        assert(word >= 0 && word < count)
        let group = word &>> 6
        // Sound: as the subscript.
        unsafe words[word] |= bits
        unsafe summaries[group] |= 1 &<< UInt64(word & 63)
        low = min(low, group)
        high = max(high, group &+ 1)
    }

    /// False when it was there.
    @inline(__always)
    mutating func insert(_ bit: Int) -> Bool {
        let mask: UInt64 = 1 &<< UInt64(bit & 63)
        guard self[bit &>> 6] & mask == 0 else { return false }
        insert(mask, at: bit &>> 6)
        return true
    }

    @inline(__always)
    mutating func clear() {
        while low < high {
            var summary = summary(low)
            // Sound: as the subscript.
            unsafe summaries[low] = 0
            while summary != 0 {
                unsafe words[low &<< 6 | summary.trailingZeroBitCount] = 0
                summary &= summary &- 1
            }
            low &+= 1
        }
        low = count &>> 6
        high = 0
    }
}
