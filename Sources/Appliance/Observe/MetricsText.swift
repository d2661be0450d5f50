/// The Prometheus text format (version 0.0.4) of all metrics.
enum MetricsText {
    /// A policy may have tens of thousands of rules: lines are put together in place.
    static func render(_ readings: Readings) -> String {
        var text = ""
        text.reserveCapacity(1 << 16)
        for metric in Metrics.all(for: readings) {
            text += "# HELP \(metric.name) \(metric.help).\n"
            text += "# TYPE \(metric.name) \(metric.kind.rawValue)\n"
            for sample in metric.read(readings) {
                text += metric.name
                text += sample.suffix
                write(sample.labels, to: &text)
                text += " "
                text += sample.value.description
                text += "\n"
            }
        }
        return text
    }

    private static func write(_ labels: [(name: String, value: String)], to text: inout String) {
        var before = "{"
        for (name, value) in labels {
            text += before
            text += name
            text += "=\""
            text += escaped(value)
            text += "\""
            before = ","
        }
        if !labels.isEmpty { text += "}" }
    }

    /// Label values: backslash, quote and line feed are escaped.
    private static func escaped(_ value: String) -> String {
        guard value.utf8.contains(where: { $0 == 0x0A || $0 == 0x22 || $0 == 0x5C }) else {
            return value
        }
        var escaped = ""
        for character in value.unicodeScalars {
            switch character {
            case "\\": escaped += "\\\\"
            case "\"": escaped += "\\\""
            case "\n": escaped += "\\n"
            default: escaped.unicodeScalars.append(character)
            }
        }
        return escaped
    }
}
