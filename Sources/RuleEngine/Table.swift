import Dataplane

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
    private var others: [() -> Void] = []
    private(set) var byteCount = 0

    func table<Element: BitwiseCopyable>(_ values: [Element]) -> Table<Element> {
        let bytes = max(1, values.count) * MemoryLayout<Element>.stride
        // 64: a row starts on a cache line.
        let block = UnsafeMutableRawPointer.allocate(byteCount: bytes, alignment: 64)
        let start = unsafe block.bindMemory(to: Element.self, capacity: max(1, values.count))
        // Sound: `block` has room for them.
        unsafe values.withUnsafeBufferPointer {
            if let from = $0.baseAddress { unsafe start.initialize(from: from, count: $0.count) }
        }
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

    /// Takes over memory of another kind.
    func own(byteCount: Int, _ free: @escaping () -> Void) {
        others.append(free)
        self.byteCount += byteCount
    }

    deinit {
        unsafe blocks.forEach { unsafe $0.deallocate() }
        for free in others { free() }
    }
}

/// Which row belongs to a key, where neighbouring keys share rows: sorted starts of intervals that
/// cover all keys. What stands in a key above the first start says where in them to search: keys
/// that crowd in one part of the range are told apart as well.
struct IntervalTable<Key: FixedWidthInteger & UnsignedInteger & BitwiseCopyable>: BitwiseCopyable {
    private let starts: Table<Key>
    private let rows: Table<UInt32>
    /// By the top bits of the distance from `origin`, the last interval that starts at or below.
    private let index: Table<UInt32>
    /// Where the second interval starts: below is the first.
    private let origin: Key
    private let shift: Int
    /// The last place of the index.
    private let top: Int

    /// - Parameter intervals: sorted; the first starts at 0.
    init(_ intervals: [(start: UInt128, row: UInt32)], _ memory: TableMemory) {
        precondition(intervals.first?.start == 0)
        let keys = intervals.map { Key(truncatingIfNeeded: $0.start) }
        let origin = keys.count > 1 ? keys[1] : 0
        let bits = min(16, Int.bitWidth - keys.count.leadingZeroBitCount)
        let span = keys[keys.count - 1] - origin
        let shift = max(0, Key.bitWidth - span.leadingZeroBitCount - bits)
        let top = Int(truncatingIfNeeded: span >> shift)
        var last = min(1, keys.count - 1)
        var index: [UInt32] = []
        for place in 0...top {
            let key = origin + Key(truncatingIfNeeded: place) << shift
            while last + 1 < keys.count, keys[last + 1] <= key { last += 1 }
            index.append(UInt32(last))
        }
        starts = memory.table(keys)
        rows = memory.table(intervals.map(\.row))
        self.index = memory.table(index + [UInt32(keys.count - 1)])
        self.origin = origin
        self.shift = shift
        self.top = top
    }

    @inline(__always)
    func row(_ key: Key) -> Int {
        guard key >= origin else { return Int(rows[0]) }
        let distance = (key &- origin) &>> Key(truncatingIfNeeded: shift)
        let place =
            distance > Key(truncatingIfNeeded: top) ? top : Int(truncatingIfNeeded: distance)
        var low = Int(index[place])
        var count = Int(index[place &+ 1]) &- low
        // The interval sought is the last of low ... low + count that starts at or below the key.
        // Halved alike on both sides, so that there is nothing to predict.
        while count > 0 {
            let half = (count &+ 1) &>> 1
            low = starts[low &+ half] <= key ? low &+ half : low
            count &-= half
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
