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

extension CounterID {
    /// The metric that shows this counter, with a value for each worker. Nil for those that are
    /// only what another metric is computed from.
    public var metric: CounterMetric? {
        switch self {
        case .packetsReceived:
            CounterMetric(.counter, "packets_received", "Packets taken by the worker")
        case .bytesReceived:
            CounterMetric(.counter, "bytes_received", "Bytes taken, outer header included")
        case .packetsForwarded:
            CounterMetric(.counter, "packets_forwarded", "Packets accepted for sending")
        case .bytesForwarded:
            CounterMetric(.counter, "bytes_forwarded", "Bytes accepted for sending")
        case .packetsRewritten:
            CounterMetric(.counter, "packets_rewritten", "Packets whose payload was changed")
        case .kernelDrops:
            CounterMetric(
                .counter, "kernel_drops",
                "Packets the socket lost before the worker: no room, or a wrong outer checksum")
        case .sendRetries:
            CounterMetric(.counter, "send_retries", "Sends tried again on a full queue")
        case .receiveErrors:
            CounterMetric(.counter, "receive_errors", "Receive calls that failed")
        case .flowsLive:
            CounterMetric(.gauge, "flows_live", "Flows in the table")
        case .flowsCreated:
            CounterMetric(.counter, "flows_created", "Flows seen for the first time")
        case .flowsExpired:
            CounterMetric(.counter, "flows_expired", "Flows removed after being idle")
        case .flowsEvicted:
            CounterMetric(.counter, "flows_evicted", "Flows removed to make room")
        case .flowCookieChanges:
            CounterMetric(.counter, "flow_cookie_changes", "Flows whose GWLB cookie changed")
        // The histogram counts bursts by size; the age and the ratio come from the times.
        case .bursts, .heartbeat, .busy: nil
        }
    }
}
