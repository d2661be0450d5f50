import Synchronization

/// What a thread lets others see of its work, a few times a second.
final class Mailbox: Sendable {
    struct State {
        var tally = Tally()
        /// Latencies since they were last taken away.
        var latencies = Verifier.emptyHistogram()
        var hasSentAll = false
        var hasEnded = false
    }

    let state: Mutex<State>

    init() { state = Mutex(State()) }
}
