import CSluice

/// Clients whose connection says all.
enum TCPClients {
    /// Accepts and closes, up to a bound, so that a flood of clients cannot hold up the control
    /// loop.
    static func turnAway(_ listener: Int32) {
        for _ in 0..<1024 {
            let client = sluice_accept_nonblocking(listener)
            guard client >= 0 else { return }
            close(client)
        }
    }
}
