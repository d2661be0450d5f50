import CSluice
import Configuration
import Foundation
import Synchronization

/// One reload: the file is read and compiled on a thread of its own, since a million prefixes take
/// seconds that signals and health must not wait for; then the workers adopt it.
final class ReloadTask: Sendable {
    /// Workers look for a new snapshot every burst and are woken for it: nanoseconds.
    private static let adoptionPatience: UInt64 = 5_000_000_000
    /// Nested YAML is read recursively.
    private static let stackSize = 8 << 20

    enum Step {
        case reading
        /// Read and published; the workers have until then, monotonic nanoseconds.
        case adopting(Configuration, deadline: UInt64)
        case refused(ConfigErrors)
    }

    private let step = Mutex(Step.reading)
    /// Control clients to answer.
    let clients: [UInt64]

    init(_ control: ConfigurationControl, workers: [WorkerThread], clients: [UInt64]) {
        self.clients = clients
        let thread = Thread { [self] in
            do throws(ConfigErrors) {
                let configuration = try control.reload(workers: workers)
                let deadline = sluice_monotonic_ns() + ReloadTask.adoptionPatience
                step.withLock { $0 = .adopting(configuration, deadline: deadline) }
            } catch {
                step.withLock { $0 = .refused(error) }
            }
        }
        thread.name = "sluice-reload"
        thread.stackSize = ReloadTask.stackSize
        thread.start()
    }

    var now: Step { step.withLock { $0 } }
}
