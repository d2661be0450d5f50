/// All metrics as JSON, by name: a value, or a list of labels and value each. The parts of a
/// histogram are metrics of their own, as in Prometheus.
struct MetricsJSON: Encodable {
    private var metrics: [String: Samples] = [:]

    private enum Samples: Encodable {
        case value(Metric.Value)
        case list([Labelled])

        func encode(to encoder: any Encoder) throws {
            var container = encoder.singleValueContainer()
            switch self {
            case .value(let value): try container.encode(value)
            case .list(let list): try container.encode(list)
            }
        }
    }

    private struct Labelled: Encodable {
        var labels: [String: String]
        var value: Metric.Value
    }

    init(_ readings: Readings) {
        for metric in Metrics.all(for: readings) {
            let samples = metric.read(readings)
            if samples.isEmpty { metrics[metric.name] = .list([]) }
            for (suffix, values) in Dictionary(grouping: samples, by: \.suffix) {
                metrics[metric.name + suffix] = MetricsJSON.samples(values)
            }
        }
    }

    private static func samples(_ samples: [Metric.Sample]) -> Samples {
        if samples.count == 1, samples[0].labels.isEmpty { return .value(samples[0].value) }
        return .list(
            samples.map { sample in
                Labelled(
                    labels: Dictionary(sample.labels.map { ($0.name, $0.value) }) { $1 },
                    value: sample.value)
            })
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(metrics)
    }
}
