import CSluice
import Synchronization

/// What reached UDP port 6081 of this host and no worker took: what these port sinks have dropped.
final class UnclaimedPackets: Sendable {
    private let sinks: [Int32]
    /// The kernel's counters, of 32 bits that wrap, and their sum.
    private let state: Mutex<(seen: [UInt32], sum: UInt64)>

    init(_ sinks: [Int32]) {
        self.sinks = sinks
        state = Mutex((sinks.map { _ in 0 }, 0))
    }

    func read() -> UInt64 {
        state.withLock { state in
            for (i, sink) in sinks.enumerated() {
                let drops = sluice_socket_drops(sink)
                state.sum += UInt64(drops &- state.seen[i])
                state.seen[i] = drops
            }
            return state.sum
        }
    }
}
