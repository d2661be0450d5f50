import Dataplane
import Wire

/// Finds all of many strings in one pass over a payload, in time linear in the payload however
/// many strings there are and whatever they and the payload look like (Aho and Corasick, 1975).
///
/// A state stands for the longest beginning of a string that ends at the byte just read. On a byte
/// that does not prolong it the failure link leads to the next shorter one; since a byte makes it
/// longer by one at most, there are never more failures than bytes. Where nothing has begun, a
/// table of hashes over the next bytes says whether anything can begin there.
///
/// All children of a state lie in one array, at the state's base plus the class of their byte, and
/// name their parent, so that a step is one load and one comparison (Aoe's double array, 1989).
struct StringAutomaton: BitwiseCopyable {
    private let states: Table<State>
    private let ends: Table<End>
    /// The class of a byte: 0 for those that stand in no string; with case ignored both cases of
    /// a letter have one.
    private let classes: Table<UInt16>
    /// A bit for each hash of the first `width` bytes of a string.
    private let beginnings: Table<UInt64>
    /// Bytes of the shortest string, at most four.
    private let width: Int
    /// Four bytes of the payload make a hash by these: the first `width`, letters in small.
    private let kept: UInt32
    private let folded: UInt32

    struct State: BitwiseCopyable {
        var base: UInt32 = 0
        var parent: UInt32 = noParent
        var failure: UInt32 = 0
        /// The first of the strings that end here; 0 = none.
        var end: UInt32 = 0
        static var noParent: UInt32 { .max }
    }

    /// A string that ends in a state, and the next shorter one that does.
    struct End: BitwiseCopyable {
        var string: UInt32
        var next: UInt32
    }

    /// - Parameter strings: distinct, none empty; in small letters when case is ignored.
    init(_ strings: [(bytes: [UInt8], id: UInt32)], ignoresCase: Bool, _ memory: TableMemory) {
        let builder = AutomatonBuilder(strings, ignoresCase: ignoresCase)
        states = memory.table(builder.states)
        ends = memory.table(builder.ends)
        classes = memory.table(builder.classes)
        let width = min(4, strings.lazy.map(\.bytes.count).min() ?? 1)
        let kept = UInt32.max << UInt32(32 - 8 * width)
        let folded = ignoresCase ? kept & 0x2020_2020 : 0
        var beginnings = [UInt64](repeating: 0, count: 1 << (StringAutomaton.hashBits - 6))
        for (bytes, _) in strings {
            let word = (0..<width).reduce(UInt32(0)) {
                $0 | UInt32(bytes[$1]) << UInt32(24 - 8 * $1)
            }
            let hash = StringAutomaton.hash(word | folded)
            beginnings[hash >> 6] |= 1 << UInt64(hash & 63)
        }
        self.beginnings = memory.table(beginnings)
        self.width = width
        self.kept = kept
        self.folded = folded
    }

    /// Notes every string that stands in [start, end), which the caller has guarded.
    @inline(__always)
    func scan(
        _ view: PacketView, from start: Int, to end: Int, _ strings: borrowing PayloadTable,
        _ found: inout PayloadFindings
    ) {
        var at = start
        while true {
            at = nextBeginning(view, from: at, to: end)
            guard at < end else { return }
            var state = 0
            repeat {
                state = step(state, view.u8(at))
                at &+= 1
                var next = Int(states[state].end)
                while next != 0 {
                    let string = ends[next]
                    // Whoever has been noted has been followed by the shorter ones.
                    guard strings.note(Int(string.string), &found) else { break }
                    next = Int(string.next)
                }
            } while state != 0 && at < end
        }
    }

    @inline(__always)
    private func step(_ from: Int, _ byte: UInt8) -> Int {
        let byteClass = Int(classes[Int(byte)])
        guard byteClass != 0 else { return 0 }
        var state = from
        while true {
            let from = states[state]
            let child = Int(from.base) &+ byteClass
            if states[child].parent == UInt32(truncatingIfNeeded: state) { return child }
            if state == 0 { return 0 }
            state = Int(from.failure)
        }
    }

    /// The next position from which on a string may stand; `end` when there is none.
    @inline(__always)
    private func nextBeginning(_ view: PacketView, from start: Int, to end: Int) -> Int {
        var at = start
        let last = end &- width
        let lastWhole = min(last, end &- 4)
        while at <= lastWhole {
            if isBeginning(view.u32(at)) { return at }
            at &+= 1
        }
        while at <= last {
            var word: UInt32 = 0
            for i in 0..<width { word |= UInt32(view.u8(at &+ i)) &<< UInt32(24 &- 8 &* i) }
            if isBeginning(word) { return at }
            at &+= 1
        }
        return end
    }

    @inline(__always)
    private func isBeginning(_ word: UInt32) -> Bool {
        let hash = StringAutomaton.hash(word & kept | folded)
        return beginnings[hash &>> 6] &>> UInt64(hash & 63) & 1 != 0
    }

    /// 64 Kbit: what stays in the first cache beside the packet.
    private static var hashBits: Int { 16 }

    @inline(__always)
    private static func hash(_ word: UInt32) -> Int {
        Int((word &* 0x9E37_79B1) &>> UInt32(32 - hashBits))
    }
}

/// Makes the states, breadth first: a failure link leads to a state that is nearer to the root,
/// whose children have their places already.
private struct AutomatonBuilder {
    var states: [StringAutomaton.State] = []
    /// The first one is not used: 0 says none.
    var ends = [StringAutomaton.End(string: 0, next: 0)]
    var classes = [UInt16](repeating: 0, count: 256)
    private var classCount = 0
    /// Free places in a ring, so that none is looked at twice in a row.
    private var nextFree: [UInt32] = []
    private var previousFree: [UInt32] = []
    private var cursor: UInt32?
    /// So many free places are tried for the children of a state before the array grows.
    private static let tries = 32

    /// A state and the strings that begin with it: of the sorted ones those in `range`.
    private struct Open {
        var state: UInt32
        var range: Range<Int>
    }

    init(_ unsorted: [(bytes: [UInt8], id: UInt32)], ignoresCase: Bool) {
        let strings = unsorted.sorted { $0.bytes.lexicographicallyPrecedes($1.bytes) }
        for (bytes, _) in strings {
            for byte in bytes where classes[Int(byte)] == 0 {
                classCount += 1
                classes[Int(byte)] = UInt16(classCount)
            }
        }
        if ignoresCase {
            for byte in 65..<91 { classes[byte] = classes[byte + 32] }
        }
        grow(by: classCount + 1)
        take(0)
        var level = [Open(state: 0, range: strings.indices)]
        var depth = 0
        while !level.isEmpty {
            var deeper: [Open] = []
            for open in level {
                let children = AutomatonBuilder.children(of: open.range, at: depth, strings)
                guard let first = children.first else { continue }
                let codes = children.map { Int(classes[Int(strings[$0.lowerBound].bytes[depth])]) }
                let base = place(codes.sorted(), first.count)
                states[Int(open.state)].base = base
                for (code, range) in zip(codes, children) {
                    let child = base + UInt32(code)
                    states[Int(child)].parent = open.state
                    let failure = failure(of: open.state, UInt32(code))
                    states[Int(child)].failure = failure
                    states[Int(child)].end = states[Int(failure)].end
                    // Distinct strings: one at most ends here, and sorts first.
                    let string = strings[range.lowerBound]
                    if string.bytes.count == depth + 1 {
                        ends.append(
                            StringAutomaton.End(
                                string: string.id, next: states[Int(failure)].end))
                        states[Int(child)].end = UInt32(ends.count - 1)
                    }
                    deeper.append(Open(state: child, range: range))
                }
            }
            level = deeper
            depth += 1
        }
        // A step may look at any class behind any base.
        let reach = Int(states.lazy.map(\.base).max() ?? 0) + classCount + 1
        if reach > states.count { grow(by: reach - states.count) }
    }

    /// The strings of `range` by their byte at `depth`; those that end there are left out.
    private static func children(
        of range: Range<Int>, at depth: Int, _ strings: [(bytes: [UInt8], id: UInt32)]
    ) -> [Range<Int>] {
        var result: [Range<Int>] = []
        var at = range.lowerBound
        while at < range.upperBound {
            guard strings[at].bytes.count > depth else {
                at += 1
                continue
            }
            let byte = strings[at].bytes[depth]
            var end = at + 1
            while end < range.upperBound, strings[end].bytes[depth] == byte { end += 1 }
            result.append(at..<end)
            at = end
        }
        return result
    }

    private func failure(of parent: UInt32, _ code: UInt32) -> UInt32 {
        guard parent != 0 else { return 0 }
        var state = states[Int(parent)].failure
        while true {
            let child = states[Int(state)].base + code
            // Also among the free places behind the last base there is none with this parent.
            if Int(child) < states.count, states[Int(child)].parent == state { return child }
            if state == 0 { return 0 }
            state = states[Int(state)].failure
        }
    }

    // ---- Places.

    /// Finds a base with free places for these classes, and takes them.
    private mutating func place(_ codes: [Int], _ unused: Int) -> UInt32 {
        var base: Int?
        for _ in 0..<AutomatonBuilder.tries {
            guard let free = cursor else { break }
            cursor = nextFree[Int(free)]
            let tried = Int(free) - codes[0]
            if tried >= 0, codes.allSatisfy({ tried + $0 < states.count && isFree(tried + $0) }) {
                base = tried
                break
            }
        }
        if base == nil {
            base = states.count
            grow(by: classCount + 1)
        }
        for code in codes { take(base! + code) }
        return UInt32(base!)
    }

    private func isFree(_ place: Int) -> Bool { nextFree[place] != .max }

    private mutating func grow(by count: Int) {
        for place in states.count..<states.count + count {
            let index = UInt32(place)
            states.append(StringAutomaton.State())
            // In front of the cursor, which is the end of the ring.
            let after = cursor ?? index
            nextFree.append(after)
            previousFree.append(index)
            let before = cursor == nil ? index : previousFree[Int(after)]
            nextFree[Int(before)] = index
            previousFree[place] = before
            previousFree[Int(after)] = index
            cursor = after
        }
    }

    private mutating func take(_ place: Int) {
        let next = nextFree[place]
        let previous = previousFree[place]
        nextFree[Int(previous)] = next
        previousFree[Int(next)] = previous
        if cursor == UInt32(place) { cursor = next == UInt32(place) ? nil : next }
        nextFree[place] = .max
    }
}
