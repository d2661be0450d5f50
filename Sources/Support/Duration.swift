/// Durations as people write them in flags, variables and files: "30" and "30s", "500ms", "5m",
/// "2h", "0.5s". A number without a unit means seconds.
extension Duration {
    private static let units: KeyValuePairs = ["ms": 1e6, "s": 1e9, "m": 60e9, "h": 3600e9]

    /// Nil unless the text is digits, with at most one dot among them, and perhaps a unit.
    ///
    /// - Parameter longest: a longer duration is nil too.
    public init?(text: some StringProtocol, atMost longest: Duration = .seconds(86_400)) {
        let unit = Duration.units.first { text.hasSuffix($0.key) }
        let number = text.dropLast(unit?.key.count ?? 0)
        // Double() also takes signs, exponents, hexadecimal and "inf".
        guard number.utf8.allSatisfy({ $0 &- 48 < 10 || $0 == 46 }), let value = Double(number)
        else { return nil }
        let nanoseconds = (value * (unit?.value ?? 1e9)).rounded()
        guard nanoseconds <= Double(longest.nanoseconds) else { return nil }
        self = .nanoseconds(Int64(nanoseconds))
    }

    /// Whole nanoseconds; of a negative duration none, of one too long for them the most.
    public var nanoseconds: UInt64 {
        let (seconds, attoseconds) = components
        guard seconds >= 0, attoseconds >= 0 else { return 0 }
        let (whole, isTooLong) = UInt64(seconds).multipliedReportingOverflow(by: 1_000_000_000)
        let (sum, overflows) = whole.addingReportingOverflow(
            UInt64(attoseconds) / 1_000_000_000)
        return isTooLong || overflows ? .max : sum
    }

    /// With a fraction.
    public var seconds: Double { Double(nanoseconds) / 1e9 }

    /// As it could stand in a file, in the largest unit of which it is a whole number.
    public var words: String {
        let nanoseconds = nanoseconds
        for (unit, length) in Duration.units.reversed() {
            if nanoseconds == 0 { return "0s" }
            let (count, rest) = nanoseconds.quotientAndRemainder(dividingBy: UInt64(length))
            if rest == 0 { return "\(count)\(unit)" }
        }
        // Parts of a millisecond, of which a Double may leave some away or write an exponent.
        let fraction = String(nanoseconds % 1_000_000 + 1_000_000).dropFirst()
        let digits = fraction.reversed().drop { $0 == "0" }.reversed()
        return "\(nanoseconds / 1_000_000).\(String(digits))ms"
    }
}
