import CSluice
import Support

/// Signals as something to poll: those that mean something, and those that would end the process
/// undrained if nobody took them. Made before any thread starts, so that all threads inherit the
/// mask and none is interrupted.
struct SignalReader: ~Copyable {
    private let descriptor: Int32

    init() throws(Failure) {
        let numbers = [SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGALRM]
        // Sound: the array has the count that is passed with it, and is read during the call.
        descriptor = unsafe sluice_signal_descriptor(numbers, Int32(numbers.count))
        guard descriptor >= 0 else { throw Failure(.system, "cannot read signals") }
    }

    deinit { close(descriptor) }

    /// Until a signal comes, or what the others wait for.
    func wait(milliseconds: Int32, or others: [pollfd]) {
        var entries = [pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)] + others
        // Sound: poll writes the results into the entries, as many as it is told there are.
        _ = unsafe poll(&entries, nfds_t(entries.count), milliseconds)
    }

    func next() -> Int32? {
        let number = sluice_next_signal(descriptor)
        return number == 0 ? nil : number
    }
}
