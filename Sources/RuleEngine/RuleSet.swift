import CSluice
import Dataplane
import PacketIO

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
