/// What one rule may log: so many lines in each second, on each worker.
@usableFromInline
struct LogAllowance: BitwiseCopyable {
    private var second: UInt32 = 0
    private var spent: UInt32 = 0

    mutating func spend(at now: UInt64, most: UInt32) -> Bool {
        let second = UInt32(truncatingIfNeeded: now / 1_000_000_000)
        if second != self.second { (self.second, spent) = (second, 0) }
        guard spent < most else { return false }
        spent &+= 1
        return true
    }
}
