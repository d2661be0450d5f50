/// The counters of one worker, by name; drops, burst sizes, rules, endpoints and the parts of a
/// processor follow them in the block.
public enum CounterID: Int, CaseIterable, Sendable, BitwiseCopyable {
    case packetsReceived
    case bytesReceived
    case packetsForwarded
    case bytesForwarded
    case packetsRewritten
    case kernelDrops
    case sendRetries
    case receiveErrors
    case flowsLive
    case flowsCreated
    case flowsExpired
    case flowsEvicted
    case flowCookieChanges
    case bursts
    /// Monotonic time of the last progress, nanoseconds.
    case heartbeat
    /// Time spent on packets, nanoseconds.
    case busy
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
