import CSluice

/// Slots for the frames of a burst, allocated once on the worker's NUMA node and touched before
/// the first packet.
///
/// Socket backends reuse the same slots for every burst, so the ring stays in the cache; the
/// queue of waiting packets is the kernel's socket buffer.
@safe public struct BufferRing: ~Copyable {
    /// Slots.
    public let slots: Int
    /// Bytes of one slot.
    public let slotSize: Int
    @usableFromInline let memory: UnsafeMutableRawPointer

    /// - Throws: ENOMEM when the node has no memory for it.
    public init(slots: Int, slotSize: Int, node: Int32) throws(IOFailure) {
        precondition(slots > 0 && slotSize >= 256 && slotSize % 64 == 0)
        guard let memory = unsafe sluice_node_alloc(slots * slotSize, node) else {
            throw IOFailure("allocate \(slots * slotSize) bytes for the buffer ring", errno: ENOMEM)
        }
        self.slots = slots
        self.slotSize = slotSize
        unsafe self.memory = unsafe memory
    }

    deinit { unsafe sluice_node_free(memory, slots * slotSize) }

    public var byteCount: Int { slots * slotSize }

    /// The first byte of a slot.
    @inlinable @inline(__always)
    public func slot(_ index: Int) -> UnsafeMutableRawPointer {
        assert(index >= 0 && index < slots)
        // Sound: index < slots, so the slot lies within `memory`.
        return unsafe memory + index &* slotSize
    }
}

/// A table of C structures with a fixed address, for calls that keep pointers into it.
@safe public struct FixedTable<Element: BitwiseCopyable>: ~Copyable {
    public let count: Int
    @usableFromInline let elements: UnsafeMutablePointer<Element>

    public init(count: Int, repeating element: Element) {
        self.count = count
        unsafe elements = .allocate(capacity: count)
        unsafe elements.initialize(repeating: element, count: count)
    }

    deinit { unsafe elements.deallocate() }

    @inlinable @inline(__always)
    public func pointer(_ index: Int = 0) -> UnsafeMutablePointer<Element> {
        assert(index >= 0 && (index < count || index == 0))
        // Sound: index < count, or the start of an empty table.
        return unsafe elements + index
    }
}
