/// Runs one trial after another against one target: what `search`, `soak` and `compare` need of
/// the engine.
public protocol LoadRunner {
    /// One trial: offers the rate for `seconds`, waits for the last packets, reports.
    mutating func run(rate: OfferedRate, seconds: Double) throws -> RunReport
}
