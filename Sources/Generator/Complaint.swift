import PacketIO

/// Why a load run cannot start or go on: one line for a person, and the exit code (SPEC §1).
public struct Complaint: Error, CustomStringConvertible, Sendable {
    /// sysexits(3).
    public enum Kind: Int32, Sendable {
        case usage = 64
        case system = 71
        case privilege = 77
    }

    public let kind: Kind
    /// What is wrong and what to do about it.
    public let description: String

    public init(_ kind: Kind, _ description: String) {
        self.kind = kind
        self.description = description
    }

    /// A system call that failed: missing privilege has a code and a remedy of its own.
    public init(_ failure: IOFailure) {
        if failure.isPermission {
            self.init(
                .privilege, "\(failure): run as root, or with CAP_NET_RAW and CAP_NET_ADMIN")
        } else {
            self.init(.system, "\(failure)")
        }
    }
}
