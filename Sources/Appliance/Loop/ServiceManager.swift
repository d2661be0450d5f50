import CSluice
import Foundation

/// Tells systemd how the service fares (sd_notify(3), Type=notify): ready, reloading, stopping, a
/// line for `systemctl status`, and the watchdog's ping. Where no service manager asked for it,
/// it says nothing.
///
/// Never waits: what the manager's socket does not take now is said at the next occasion, in order.
struct ServiceManager: ~Copyable {
    /// Nil = nobody listens.
    private let descriptor: Int32?
    /// Nanoseconds from ping to ping; nil = no watchdog.
    private let pingInterval: UInt64?
    private var lastPing: UInt64 = 0
    private var isReady = false
    private var isStopping = false
    private var unsent: [String] = []

    /// More than a service says before it is killed for its silence.
    private static let unsentLimit = 64

    /// - Parameters:
    ///   - socket: a path, or '@' and an abstract name; nil = no service manager.
    ///   - watchdog: nanoseconds without a ping after which the service is ended; nil = never.
    init(socket: String?, watchdog: UInt64?) {
        // Sound: the name is a C string for the call, which refuses one that is too long.
        let result = socket.map { unsafe sluice_connect_notify($0) } ?? -1
        descriptor = result >= 0 ? result : nil
        // Half the limit, as sd_watchdog_enabled(3) advises.
        pingInterval = watchdog.map { $0 / 2 }
    }

    /// As the environment says.
    init() {
        let environment = ProcessInfo.processInfo.environment
        // The variables may be inherited from a service that we are only a child of.
        let isForUs = environment["WATCHDOG_PID"].map { Int32($0) == getpid() } ?? true
        let limit = environment["WATCHDOG_USEC"].flatMap { UInt64($0) }.map { $0 &* 1000 }
        self.init(socket: environment["NOTIFY_SOCKET"], watchdog: isForUs ? limit : nil)
    }

    deinit { if let descriptor { close(descriptor) } }

    /// Health has changed.
    mutating func note(_ health: Health, _ status: String) {
        switch health {
        case .draining: noteStopping(status)
        case .healthy where !isReady:
            isReady = true
            say("READY=1", status)
        default: say(nil, status)
        }
    }

    /// Said once, however often it stops.
    mutating func noteStopping(_ status: String) {
        guard !isStopping else { return }
        isStopping = true
        say("STOPPING=1", status)
    }

    /// - Parameter now: monotonic nanoseconds.
    mutating func noteReloading(now: UInt64) {
        guard isReady else { return }
        say("RELOADING=1\nMONOTONIC_USEC=\(now / 1000)", "reloading")
    }

    mutating func noteReloaded(_ status: String) {
        guard isReady else { return }
        say("READY=1", status)
    }

    /// Pings when it is time to, but only while every worker makes progress.
    mutating func ping(now: UInt64, workersMakeProgress: Bool) {
        flush()
        guard let pingInterval, workersMakeProgress, unsent.isEmpty, now - lastPing >= pingInterval
        else { return }
        lastPing = now
        say("WATCHDOG=1", nil)
    }

    private mutating func say(_ state: String?, _ status: String?) {
        guard descriptor != nil, unsent.count < ServiceManager.unsentLimit else { return }
        let lines = [state, status.map { "STATUS=" + $0 }]
        unsent.append(lines.compactMap { $0 }.joined(separator: "\n"))
        flush()
    }

    private mutating func flush() {
        guard let descriptor else { return }
        while let message = unsent.first {
            let bytes = Array(message.utf8)
            // Sound: send only reads, and no more than the bytes of the array.
            let sent = unsafe send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL))
            // A manager that is gone, or another that has taken its place, hears nothing.
            if sent < 0, errno == EAGAIN || errno == ENOBUFS { return }
            unsent.removeFirst()
        }
    }
}
