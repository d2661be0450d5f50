import CSluice
import PacketIO
import Support
import Synchronization

/// Asks a run to end early: SIGINT and SIGTERM, or whoever calls `set`.
public final class StopSignal: Sendable {
    private let flag = Atomic<Bool>(false)
    private let ending = Atomic<Bool>(false)
    private let descriptor: Int32

    /// Blocks the two signals in the calling thread and in those that it starts afterwards.
    public init() throws(Failure) {
        // Sound: two numbers are read, and only within the call.
        descriptor = unsafe sluice_signal_descriptor([SIGINT, SIGTERM], 2)
        guard descriptor >= 0 else {
            throw Failure(IOFailure("read signals", errno: -descriptor))
        }
    }

    public var isSet: Bool { flag.load(ordering: .relaxed) }

    /// The run that is on shall end: all do, or this one has no use.
    var endsRun: Bool { isSet || ending.load(ordering: .relaxed) }

    /// Ends the run that is on, or lets the next one begin.
    func setRunEnding(_ isEnding: Bool) { ending.store(isEnding, ordering: .relaxed) }

    public func set() { flag.store(true, ordering: .relaxed) }

    /// Waits for a signal, at most `milliseconds`.
    public func wait(milliseconds: Int32) {
        _ = sluice_wait(descriptor, -1, milliseconds)
        if sluice_next_signal(descriptor) != 0 { set() }
    }
}
