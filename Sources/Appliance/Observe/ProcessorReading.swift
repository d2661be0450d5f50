import Dataplane

/// The processor's own counters.
enum ProcessorReading {
    /// Names as in metrics, each once, in the order of the parts.
    static func names(_ parts: [ProcessorPart]) -> [String] {
        var names: [String] = []
        for counter in parts.flatMap(\.counters) {
            let name = metricName(counter.name)
            if !names.contains(name) { names.append(name) }
        }
        return names
    }

    /// `dnsQueries` and `DNSQueries` → `dns_queries`. What cannot be in a metric's name becomes an
    /// underscore; cases that come out alike share a metric.
    static func metricName(_ name: String) -> String {
        let letters = Array(name)
        var text = ""
        for (i, letter) in letters.enumerated() {
            let isWord = letter.isASCII && (letter.isLetter || letter.isNumber)
            let startsWord =
                letter.isUppercase && i > 0
                && (!letters[i - 1].isUppercase
                    || i + 1 < letters.count && letters[i + 1].isLowercase)
            if startsWord, !text.isEmpty, !text.hasSuffix("_") { text += "_" }
            text += isWord ? letter.lowercased() : "_"
        }
        return text
    }
}
