/// Two targets under the same load, turn by turn, so that what the machine does meanwhile meets
/// both alike: only the ratio within a round counts, and its spread over the rounds.
public struct Comparison: Sendable {
    /// What one turn of a target gave.
    public struct Turn: Encodable, Sendable {
        /// Packets a second: the highest that was found, or the one that was offered.
        public var ratePps: Double
        /// A share.
        public var loss: Double
        /// Nanoseconds; 0 without samples.
        public var latencyP50: UInt64
        public var latencyP99: UInt64
        public var generatorLimited: Bool

        public init(_ report: RunReport) {
            ratePps = report.ratePps
            loss = report.loss
            latencyP50 = report.latencyNs.p50
            latencyP99 = report.latencyNs.p99
            generatorLimited = report.generatorLimited
        }

        public init(_ found: RateSearch.Found) {
            self.init(found.report ?? RunReport())
            ratePps = found.rate
            generatorLimited = found.generatorLimited
        }

        enum CodingKeys: String, CodingKey {
            case loss
            case ratePps = "rate_pps"
            case latencyP50 = "latency_p50_ns"
            case latencyP99 = "latency_p99_ns"
            case generatorLimited = "generator_limited"
        }
    }

    public struct Round: Encodable, Sendable {
        public var a: Turn
        public var b: Turn

        public init(a: Turn, b: Turn) {
            self.a = a
            self.b = b
        }
    }

    /// A figure of A as a multiple of B's, over the rounds.
    public struct Ratio: Encodable, Equatable, Sendable {
        public var median: Double
        public var min: Double
        public var max: Double
        /// In their order.
        public var rounds: [Double]

        /// Nil when a round has no ratio, nothing over nothing for one.
        public init?(_ pairs: [(Double, Double)]) {
            guard !pairs.isEmpty, pairs.allSatisfy({ $0.0 > 0 && $0.1 > 0 }) else { return nil }
            rounds = pairs.map { $0.0 / $0.1 }
            let sorted = rounds.sorted()
            let half = sorted.count / 2
            median =
                sorted.count % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2
            min = sorted.first!
            max = sorted.last!
        }
    }

    public private(set) var rounds: [Round] = []
    /// The rate was looked for; else it was fixed, and says nothing.
    public let isSearch: Bool

    public init(isSearch: Bool) { self.isSearch = isSearch }

    public mutating func add(_ round: Round) { rounds.append(round) }

    /// By name; only those that every round has.
    public var ratios: [(name: String, ratio: Ratio)] {
        func ratio(_ name: String, _ figure: (Turn) -> Double) -> (String, Ratio)? {
            Ratio(rounds.map { (figure($0.a), figure($0.b)) }).map { (name, $0) }
        }
        if isSearch {
            return [ratio("rate") { $0.ratePps }].compactMap { $0 }
        }
        return [
            ratio("latency_p50") { Double($0.latencyP50) },
            ratio("latency_p99") { Double($0.latencyP99) },
            ratio("loss") { $0.loss },
        ].compactMap { $0 }
    }
}
