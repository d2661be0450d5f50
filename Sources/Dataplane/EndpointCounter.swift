/// Counts packets under their endpoint. Packets of one endpoint come in trains, so the entry found
/// last is tried first.
@usableFromInline struct EndpointCounter: BitwiseCopyable {
    @usableFromInline let counters: CounterBlock
    @usableFromInline var lastID: UInt64 = 0
    /// Negative: none yet.
    @usableFromInline var lastEntry = -1

    @inlinable
    init(_ counters: CounterBlock) { self.counters = counters }

    @inlinable @inline(__always)
    mutating func count(_ id: UInt64, isForwarded: Bool) {
        if lastID != id || lastEntry < 0 {
            lastEntry = counters.endpointEntry(id)
            lastID = id
        }
        counters.addEndpoint(lastEntry, isForwarded: isForwarded)
    }
}
