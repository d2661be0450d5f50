import Generator

/// Numbers for people.
enum Figure {
    /// "12.3 s"
    static func seconds(_ seconds: Double) -> String { "\(digits(seconds, 1)) s" }

    /// "199.8 kpps"
    static func rate(_ pps: Double) -> String { scaled(pps, "pps") }

    /// "1.23 Gbps"
    static func bits(_ bps: Double) -> String { scaled(bps, "bps") }

    private static func scaled(_ value: Double, _ unit: String) -> String {
        if value >= 1e9 { return "\(digits(value / 1e9, 2)) G\(unit)" }
        if value >= 1e6 { return "\(digits(value / 1e6, 2)) M\(unit)" }
        if value >= 1e3 { return "\(digits(value / 1e3, 1)) k\(unit)" }
        return "\(digits(value, 0)) \(unit)"
    }

    /// "17.2 µs"
    static func time(_ nanoseconds: UInt64) -> String {
        let value = Double(nanoseconds)
        if value >= 1e9 { return "\(digits(value / 1e9, 2)) s" }
        if value >= 1e6 { return "\(digits(value / 1e6, 2)) ms" }
        if value >= 1e3 { return "\(digits(value / 1e3, 1)) µs" }
        return "\(nanoseconds) ns"
    }

    /// "0.031 %"
    static func percent(_ share: Double) -> String {
        share == 0 ? "0 %" : "\(digits(share * 100, share < 0.001 ? 4 : 2)) %"
    }

    static func digits(_ value: Double, _ places: Int) -> String {
        var scale = 1.0
        for _ in 0..<places { scale *= 10 }
        let number = Int((value * scale).rounded())
        guard places > 0 else { return "\(number)" }
        let fraction = String(number % Int(scale))
        let zeros = String(repeating: "0", count: places - fraction.count)
        return "\(number / Int(scale)).\(zeros)\(fraction)"
    }
}
