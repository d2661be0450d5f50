/// How a counter is shown to people: its name in metrics, what kind of number it is, and what it
/// counts.
public struct CounterMetric: Equatable, Sendable {
    public enum Kind: String, Sendable {
        /// Only grows, until the process ends. Its name in metrics ends in `_total`.
        case counter
        /// Goes up and down.
        case gauge
    }

    /// Without the prefix that all metrics share, and without `_total`.
    public let name: String
    public let kind: Kind
    /// A sentence without its full stop.
    public let help: String

    init(_ kind: Kind, _ name: String, _ help: String) {
        self.kind = kind
        self.name = name
        self.help = help
    }
}
