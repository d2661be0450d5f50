import CSluice

/// An operating system call that failed while opening something: what was tried, and errno.
public struct IOFailure: Error, CustomStringConvertible, Sendable {
    public let what: String
    public let errno: Int32

    public init(_ what: String, errno: Int32) {
        self.what = what
        self.errno = errno
    }

    /// With the errno of the call just made.
    public init(_ what: String) { self.init(what, errno: sluice_errno()) }

    public var isPermission: Bool { errno == EPERM || errno == EACCES }

    public var description: String { "cannot \(what): \(unsafe String(cString: strerror(errno)))" }
}
