/// What a capture counts time in.
struct CaptureClock {
    /// At least 1.
    var unitsPerSecond: UInt64 = 1_000_000

    init(unitsPerSecond: UInt64 = 1_000_000) { self.unitsPerSecond = unitsPerSecond }

    /// pcapng's if_tsresol: a negative power of 10, or of 2 with the top bit set. Nil when it is
    /// finer than 64 bits can count.
    init?(resolution: UInt8) {
        let exponent = Int(resolution & 0x7F)
        if resolution & 0x80 != 0 {
            guard exponent < 64 else { return nil }
            unitsPerSecond = 1 << UInt64(exponent)
        } else {
            guard exponent < 20 else { return nil }
            unitsPerSecond = (0..<exponent).reduce(1) { power, _ in power * 10 }
        }
    }

    /// Saturates at the end of 64 bits, the year 2554.
    func nanoseconds(_ units: UInt64) -> UInt64 {
        let (high, low) = units.multipliedFullWidth(by: 1_000_000_000)
        guard high < unitsPerSecond else { return .max }
        return unitsPerSecond.dividingFullWidth((high, low)).quotient
    }
}
