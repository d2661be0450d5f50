/// The Prometheus text format (version 0.0.4) of all metrics.
enum MetricsText {
    static func render(_ readings: Readings) -> String {
        var text = ""
        for metric in Metrics.all(for: readings) {
            text += "# HELP \(metric.name) \(metric.help).\n"
            text += "# TYPE \(metric.name) \(metric.kind.rawValue)\n"
            for sample in metric.read(readings) {
                text += "\(metric.name)\(sample.suffix)\(labels(sample)) \(sample.value)\n"
            }
        }
        return text
    }

    private static func labels(_ sample: Metric.Sample) -> String {
        guard !sample.labels.isEmpty else { return "" }
        let list = sample.labels.map { "\($0.name)=\"\(escape($0.value))\"" }
        return "{\(list.joined(separator: ","))}"
    }

    /// Label values: backslash, quote and line feed are escaped.
    private static func escape(_ value: String) -> String {
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
