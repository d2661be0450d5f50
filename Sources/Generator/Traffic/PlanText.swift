import Support

/// Reads what the flags say; nil for what is wrong.
public enum PlanText {
    /// "200kpps", "1.5mpps", "50000" or "50000pps", "1gbps", "max".
    public static func rate(_ text: some StringProtocol) -> OfferedRate? {
        let text = text.lowercased()
        if text == "max" { return .flatOut }
        let bits = text.hasSuffix("bps")
        var number = Substring(text)
        if bits || number.hasSuffix("pps") { number = number.dropLast(3) }
        guard let value = scaled(number), value > 0, value <= 1e12 else { return nil }
        return bits ? .bitsPerSecond(value) : .packetsPerSecond(value)
    }

    /// "10kpps..200kpps": from one rate to the other, evenly over the duration.
    public static func ramp(_ text: some StringProtocol) -> LoadProfile? {
        guard let dots = text.range(of: "..") else { return nil }
        guard let from = rate(text[..<dots.lowerBound]), let to = rate(text[dots.upperBound...])
        else { return nil }
        switch (from, to) {
        case (.packetsPerSecond, .packetsPerSecond), (.bitsPerSecond, .bitsPerSecond):
            return .ramp(from, to)
        default: return nil
        }
    }

    /// "10kpps,20kpps,50kpps": one after the other, each for an equal part of the duration.
    public static func steps(_ text: some StringProtocol) -> LoadProfile? {
        var rates: [OfferedRate] = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            guard let rate = rate(part), rate != .flatOut else { return nil }
            rates.append(rate)
        }
        return .steps(rates)
    }

    /// Seconds of "10s", "500ms", "2m", "1h" or a bare number of seconds.
    public static func duration(_ text: some StringProtocol) -> Double? {
        let duration = Duration(text: text, atMost: .seconds(30 * 24 * 3600))
        return duration.flatMap { $0 > .zero ? $0.seconds : nil }
    }

    /// "1000", "10k", "1.5m", "2g".
    public static func count(_ text: some StringProtocol) -> UInt64? {
        guard let value = scaled(Substring(text.lowercased())), value >= 0, value < 1e15,
            value == value.rounded()
        else { return nil }
        return UInt64(value)
    }

    /// A share from "0.05" or "5%".
    public static func share(_ text: some StringProtocol) -> Double? {
        let isPercent = text.hasSuffix("%")
        guard let value = Double(isPercent ? text.dropLast() : text[...]) else { return nil }
        let share = isPercent ? value / 100 : value
        return (0...1).contains(share) ? share : nil
    }

    /// "128", "imix", "64-1500", "64,512,1500".
    public static func sizes(_ text: some StringProtocol) -> SizeMix? {
        if text == "imix" { return .imix }
        let bounds = text.split(separator: "-", omittingEmptySubsequences: false)
        if bounds.count == 2 {
            guard let low = size(bounds[0]), let high = size(bounds[1]), low <= high else {
                return nil
            }
            return .range(low...high)
        }
        var sizes: [Weighted<Int>] = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            guard let size = size(part), sizes.count < SizeMix.rangeSteps else { return nil }
            sizes.append(Weighted(size, 1))
        }
        return SizeMix(sizes)
    }

    private static func size(_ text: some StringProtocol) -> Int? {
        Int(text).flatMap { SizeMix.allowed.contains($0) ? $0 : nil }
    }

    /// "udp=70,tcp=20,icmp=10": names with weights; a bare name has weight 1. Nil unless `value`
    /// knows every name, and some weight is above 0.
    public static func shares<Value>(
        _ text: some StringProtocol, _ value: (String) throws(Failure) -> Value?
    ) throws(Failure) -> [Weighted<Value>]? {
        var shares: [Weighted<Value>] = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let halves = part.split(separator: "=", omittingEmptySubsequences: false)
            guard halves.count <= 2, let known = try value(String(halves[0])) else { return nil }
            var weight = 1.0
            if halves.count == 2 {
                guard let given = Double(halves[1]), given >= 0, given <= 1e9 else { return nil }
                weight = given
            }
            if weight > 0 { shares.append(Weighted(known, weight)) }
        }
        return shares.isEmpty ? nil : shares
    }

    /// A number with k, m or g behind it (thousands each).
    private static func scaled(_ text: Substring) -> Double? {
        let scales: [Character: Double] = ["k": 1e3, "m": 1e6, "g": 1e9]
        guard let last = text.last else { return nil }
        guard let scale = scales[last] else { return finite(text) }
        return finite(text.dropLast()).map { $0 * scale }
    }

    private static func finite(_ text: Substring) -> Double? {
        // Double() also takes "inf", "nan" and hexadecimal.
        guard text.allSatisfy({ $0.isASCII && ($0.isNumber || $0 == ".") }) else { return nil }
        return Double(text)
    }
}

extension StringProtocol {
    /// The first place of `part` (without Foundation).
    fileprivate func range(of part: String) -> Range<Index>? {
        var at = startIndex
        while at < endIndex {
            if self[at...].hasPrefix(part) { return at..<index(at, offsetBy: part.count) }
            formIndex(after: &at)
        }
        return nil
    }
}
