import Wire

/// A flow key as a dictionary key: one word to hash instead of eight fields.
struct HashedKey: Hashable, BitwiseCopyable {
    private let key: FlowKey

    init(_ key: FlowKey) { self.key = key }

    func hash(into hasher: inout Hasher) { hasher.combine(key.hash(seed: 0)) }
}
