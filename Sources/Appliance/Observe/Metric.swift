/// One metric: what it is called, what it tells, and how its values come out of the readings.
struct Metric: Sendable {
    enum Kind: String, Sendable { case counter, gauge, histogram }

    /// In full, as Prometheus knows it.
    let name: String
    let kind: Kind
    /// A sentence without its full stop.
    let help: String
    let read: @Sendable (Readings) -> [Sample]

    /// One value of a metric.
    struct Sample {
        /// What tells it from the metric's other values, in order; empty = it has only this one.
        var labels: [(name: String, value: String)] = []
        var value: Value
        /// The parts of a histogram have names of their own: what follows the metric's.
        var suffix = ""
    }

    enum Value: CustomStringConvertible, Encodable {
        case count(UInt64)
        case number(Double)

        var description: String {
            switch self {
            case .count(let count): "\(count)"
            case .number(let number): "\(number)"
            }
        }

        func encode(to encoder: any Encoder) throws {
            var container = encoder.singleValueContainer()
            switch self {
            case .count(let count): try container.encode(count)
            case .number(let number): try container.encode(number)
            }
        }
    }
}

// ---- The usual shapes. `name` goes without the prefix `sluice_`.

extension Metric {
    private init(
        _ kind: Kind, _ name: String, _ help: String,
        samples: @escaping @Sendable (Readings) -> [Sample]
    ) {
        self.init(name: "sluice_\(name)", kind: kind, help: help, read: samples)
    }

    /// One value for the whole appliance.
    static func single(
        _ kind: Kind, _ name: String, _ help: String,
        _ value: @escaping @Sendable (Readings) -> UInt64
    ) -> Metric {
        Metric(kind, name, help) { [Sample(value: .count(value($0)))] }
    }

    /// One value with a fraction, a gauge.
    static func number(
        _ name: String, _ help: String, _ value: @escaping @Sendable (Readings) -> Double
    ) -> Metric {
        Metric(.gauge, name, help) { [Sample(value: .number(value($0)))] }
    }

    /// One value for each worker.
    static func perWorker(
        _ kind: Kind, _ name: String, _ help: String,
        _ value: @escaping @Sendable (Readings.WorkerReading) -> Value
    ) -> Metric {
        Metric(kind, name, help) { readings in
            readings.workers.enumerated().map { index, worker in
                Sample(labels: [("worker", "\(index)")], value: value(worker))
            }
        }
    }

    /// Values told apart by labels.
    static func labelled(
        _ kind: Kind, _ name: String, _ help: String,
        _ samples:
            @escaping @Sendable (Readings) -> [(
                labels: [(name: String, value: String)], count: UInt64
            )]
    ) -> Metric {
        Metric(kind, name, help) { readings in
            samples(readings).map { Sample(labels: $0.labels, value: .count($0.count)) }
        }
    }

    /// Counts by upper bound, the last one without.
    static func histogram(
        _ name: String, _ help: String, bounds: [Int],
        buckets: @escaping @Sendable (Readings) -> [UInt64],
        sum: @escaping @Sendable (Readings) -> UInt64
    ) -> Metric {
        Metric(.histogram, name, help) { readings in
            let limits = bounds.map(String.init) + ["+Inf"]
            var cumulative: UInt64 = 0
            var samples = zip(limits, buckets(readings)).map { limit, count in
                cumulative += count
                return Sample(
                    labels: [("le", limit)], value: .count(cumulative), suffix: "_bucket")
            }
            samples.append(Sample(value: .count(sum(readings)), suffix: "_sum"))
            samples.append(Sample(value: .count(cumulative), suffix: "_count"))
            return samples
        }
    }

    /// One value that every process has; without the prefix `sluice_`, as exporters agree.
    static func process(
        _ kind: Kind, _ name: String, _ help: String,
        _ value: @escaping @Sendable (ProcessReading) -> Double
    ) -> Metric {
        Metric(name: "process_\(name)", kind: kind, help: help) {
            [Sample(value: .number(value($0.process)))]
        }
    }
}
