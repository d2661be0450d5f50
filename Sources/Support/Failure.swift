import Glibc
import PacketIO

/// Why a program cannot start or go on: one line for a person, and the exit code.
public struct Failure: Error, CustomStringConvertible, Sendable {
    /// sysexits(3).
    public enum Code: Int32, Sendable {
        case usage = 64
        case system = 71
        case privilege = 77
        case config = 78
    }

    public let code: Code
    /// What is wrong and what to do about it.
    public let description: String

    public init(_ code: Code, _ description: String) {
        self.code = code
        self.description = description
    }

    /// A system call that failed: missing privilege has a code and a remedy of its own.
    ///
    /// - Parameter advice: what to do, unless it is privilege that is missing.
    public init(_ failure: IOFailure, advice: String? = nil) {
        if failure.isPermission {
            self.init(
                .privilege,
                "\(failure): run as root, or give the program CAP_NET_RAW and CAP_NET_ADMIN")
        } else {
            self.init(.system, advice.map { "\(failure): \($0)" } ?? "\(failure)")
        }
    }

    /// Says it in one line on standard error and ends the process.
    public func printAndExit(program: String) -> Never {
        StandardError.write("\(program): \(description)")
        exit(code.rawValue)
    }
}
