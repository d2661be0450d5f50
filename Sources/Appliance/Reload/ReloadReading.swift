/// How reloads went.
public struct ReloadReading: Sendable, Equatable {
    public var generation: UInt64 = 1
    public var succeeded: UInt64 = 0
    public var failed: UInt64 = 0
    public var lastSucceeded = true

    public init() {}
}
