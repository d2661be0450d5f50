import CSluice
import Glibc
import Support

/// The file descriptors that the process may open.
enum Descriptors {
    /// As many HTTP clients as are ever needed at once.
    private static let mostClients = 256
    private static let fewestClients = 4
    /// Control clients, and files of a reload or of /proc.
    private static let reserve = 24

    /// The limit becomes what the host lets it be: the lower one is for programs that use select.
    static func raiseLimit() {
        var limit = read()
        limit.rlim_cur = limit.rlim_max
        // Sound: the kernel reads the one structure that it is given.
        _ = unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }

    /// How many clients each of some ports may have, so that accepting one never fails for want of
    /// a descriptor. To be asked when sockets and rings are open.
    ///
    /// - Throws: when the fewest clients find no room.
    static func clients(ports: Int) throws(Failure) -> Int {
        let limit = Int(clamping: read().rlim_cur)
        let open = (0..<Int32(clamping: min(limit, 4096))).count { fcntl($0, F_GETFD) >= 0 }
        // Each port's event loop takes three, a page that is rendered two.
        let needed = open + ports * (3 + fewestClients) + 2
        guard needed <= limit else {
            throw Failure(
                .system,
                "open files are limited to \(limit), and at least \(needed) are needed: raise the "
                    + "limit (ulimit -Hn, LimitNOFILE=) or lower the number of workers")
        }
        return max(fewestClients, min(mostClients, (limit - open - reserve) / ports))
    }

    private static func read() -> rlimit {
        var limit = rlimit()
        // Sound: the kernel fills in the one structure that it is given.
        _ = unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        return limit
    }
}
