/// A row of values in memory that a `TableMemory` owns, which must outlive every use. Read on the
/// packet path without a reference count.
@safe struct Table<Element: BitwiseCopyable>: @unchecked Sendable, BitwiseCopyable {
    private let start: UnsafePointer<Element>
    let count: Int

    @unsafe fileprivate init(_ start: UnsafePointer<Element>, _ count: Int) {
        unsafe self.start = start
        self.count = count
    }

    @inline(__always)
    subscript(index: Int) -> Element {
        assert(index >= 0 && index < count)
        // Sound: the compiler of a policy writes only indices that are there.
        return unsafe start[index]
    }

    /// The address of a value, for bytes that are to be searched or copied.
    @unsafe @inline(__always)
    func pointer(_ index: Int) -> UnsafePointer<Element> {
        assert(index >= 0 && index <= count)
        return unsafe start + index
    }
}

/// Owns the tables of one snapshot: they go when it goes.
@safe final class TableMemory {
    private var blocks: [UnsafeMutableRawPointer] = unsafe []
    private(set) var byteCount = 0

    func table<Element: BitwiseCopyable>(_ values: [Element]) -> Table<Element> {
        let bytes = max(1, values.count) * MemoryLayout<Element>.stride
        // 64: a row starts on a cache line.
        let block = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 64)
        let start = unsafe block.bindMemory(to: Element.self, capacity: max(1, values.count))
        // Sound: `block` has room for them.
        for (i, value) in values.enumerated() { unsafe (start + i).initialize(to: value) }
        unsafe blocks.append(block)
        byteCount += bytes
        return unsafe Table(UnsafePointer(start), values.count)
    }

    /// Room for `count` values, for the caller to fill. They are never deinitialized.
    func room<Value: ~Copyable>(for type: Value.Type, _ count: Int) -> UnsafeMutablePointer<Value> {
        let bytes = max(1, count) * MemoryLayout<Value>.stride
        let block = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 64)
        unsafe blocks.append(block)
        byteCount += bytes
        return unsafe block.bindMemory(to: Value.self, capacity: max(1, count))
    }

    deinit { unsafe blocks.forEach { unsafe $0.deallocate() } }
}

/// Which row belongs to a key, where neighbouring keys share rows: sorted starts of intervals that
/// cover all keys. The top bits of a key say where in them to search.
struct IntervalTable<Key: FixedWidthInteger & UnsignedInteger & BitwiseCopyable>: BitwiseCopyable {
    private let starts: Table<Key>
    private let rows: Table<UInt32>
    /// For each value of the top bits the last interval that starts at or below it.
    private let index: Table<UInt32>
    private let shift: Int

    /// - Parameter intervals: sorted; the first starts at 0.
    init(_ intervals: [(start: UInt128, row: UInt32)], _ memory: TableMemory) {
        precondition(intervals.first?.start == 0)
        let bits = min(16, Int.bitWidth - intervals.count.leadingZeroBitCount)
        shift = Key.bitWidth - bits
        starts = memory.table(intervals.map { Key($0.start) })
        rows = memory.table(intervals.map(\.row))
        var last = 0
        var index: [UInt32] = []
        for top in 0..<(1 << bits) {
            let key = UInt128(top) << UInt128(shift)
            while last + 1 < intervals.count, intervals[last + 1].start <= key { last += 1 }
            index.append(UInt32(last))
        }
        self.index = memory.table(index + [UInt32(intervals.count - 1)])
    }

    @inline(__always)
    func row(_ key: Key) -> Int {
        let top = Int(truncatingIfNeeded: key >> shift)
        var low = Int(index[top])
        var high = Int(index[top &+ 1])
        // The interval sought is the last in low...high that starts at or below the key.
        while low < high {
            let middle = (low &+ high &+ 1) &>> 1
            if starts[middle] <= key { low = middle } else { high = middle &- 1 }
        }
        return Int(rows[low])
    }
}

/// Which row belongs to a port: pages of 256 ports, equal pages stored once.
struct PortTable: BitwiseCopyable {
    private let pages: Table<UInt16>
    private let rows: Table<UInt32>

    init(_ intervals: [(start: UInt128, row: UInt32)], _ memory: TableMemory) {
        var known: [[UInt32]: UInt16] = [:]
        var pages: [UInt16] = []
        var rows: [UInt32] = []
        var next = 1
        for first in stride(from: 0, to: 1 << 16, by: 256) {
            var page = [UInt32](repeating: intervals[next - 1].row, count: 256)
            while next < intervals.count, intervals[next].start < first + 256 {
                for port in Int(intervals[next].start) - first..<256 {
                    page[port] = intervals[next].row
                }
                next += 1
            }
            if known[page] == nil {
                known[page] = UInt16(known.count)
                rows += page
            }
            pages.append(known[page]!)
        }
        self.pages = memory.table(pages)
        self.rows = memory.table(rows)
    }

    @inline(__always)
    func row(_ port: UInt16) -> Int {
        Int(rows[Int(pages[Int(port &>> 8)]) &<< 8 | Int(port & 255)])
    }
}

/// Values by endpoint id: open addressing, at most half full.
struct EndpointTable: BitwiseCopyable {
    private struct Slot: BitwiseCopyable {
        var endpoint: UInt64 = 0
        var value: UInt32 = 0
        var isUsed: UInt32 = 0
    }

    private let slots: Table<Slot>
    private let mask: Int
    private let other: Int

    /// - Parameter other: what all other endpoints have.
    init(_ values: [UInt64: UInt32], other: UInt32, _ memory: TableMemory) {
        var capacity = 2
        while capacity < values.count * 2 { capacity *= 2 }
        mask = capacity - 1
        self.other = Int(other)
        var slots = [Slot](repeating: Slot(), count: capacity)
        for (endpoint, value) in values {
            var at = EndpointTable.hash(endpoint) & mask
            while slots[at].isUsed != 0 { at = (at + 1) & mask }
            slots[at] = Slot(endpoint: endpoint, value: value, isUsed: 1)
        }
        self.slots = memory.table(slots)
    }

    @inline(__always)
    private static func hash(_ endpoint: UInt64) -> Int {
        Int(truncatingIfNeeded: endpoint &* 0x9E37_79B9_7F4A_7C15 &>> 32)
    }

    @inline(__always)
    func value(_ endpoint: UInt64) -> Int {
        var at = EndpointTable.hash(endpoint) & mask
        // Ends: half of the slots are free.
        while true {
            let slot = slots[at]
            if slot.isUsed == 0 { return other }
            if slot.endpoint == endpoint { return Int(slot.value) }
            at = (at &+ 1) & mask
        }
    }
}
