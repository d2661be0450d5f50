import CSluice
import PacketIO

/// Why the program cannot go on: one line for standard error and an exit code (SPEC §1).
struct Complaint: Error {
    enum Kind: Int32 {
        case usage = 64
        case system = 71
        case privilege = 77
        case config = 78
    }

    let kind: Kind
    /// What is wrong and what to do about it.
    let text: String

    init(_ kind: Kind, _ text: String) {
        self.kind = kind
        self.text = text
    }

    /// - Parameter advice: what to do, unless it is privilege that is missing.
    init(_ failure: IOFailure, advice: String? = nil) {
        if failure.isPermission {
            self.init(
                .privilege,
                "\(failure): run as root, or with CAP_NET_RAW and CAP_NET_ADMIN")
        } else {
            self.init(.system, advice.map { "\(failure): \($0)" } ?? "\(failure)")
        }
    }
}

/// One line on standard error.
func say(_ line: String) {
    let bytes = Array("sluice-gwlb: \(line)\n".utf8)
    _ = write(2, bytes, bytes.count)
}
