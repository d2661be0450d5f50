/// Turns busy nanoseconds into shares of the time that passed, about once a second.
struct BusySampler {
    private var last: UInt64
    private var lastBusy: [UInt64]

    init(now: UInt64, busy: [UInt64]) {
        last = now
        lastBusy = busy
    }

    /// Nil until a second has passed since the last sample.
    mutating func sample(now: UInt64, busy: [UInt64]) -> [Double]? {
        let elapsed = now - last
        guard elapsed >= 1_000_000_000 else { return nil }
        let ratios = zip(busy, lastBusy).map { min(1, Double($0 &- $1) / Double(elapsed)) }
        last = now
        lastBusy = busy
        return ratios
    }
}
