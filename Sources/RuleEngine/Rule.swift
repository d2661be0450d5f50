import Dataplane

public struct Rule: Equatable, Sendable {
    /// The value of the `rule` label of its counter.
    public var name: String
    /// Free text for people; nothing depends on it.
    public var description: String?
    public var match = Match()
    /// What happens to packets that match, in this order: log, replace, decide.
    public var isLogged = false
    public var replacements: [Replacement] = []
    public var terminal: Terminal?
    /// Count and log only.
    public var isDryRun = false

    public enum Terminal: UInt8, Equatable, BitwiseCopyable, Sendable { case forward, drop }

    public init(_ name: String) { self.name = name }
}

/// Every occurrence of `find` in the payload becomes `with`.
public struct Replacement: Equatable, Sendable {
    public var find: [UInt8]
    public var with: [UInt8]

    public init(find: [UInt8], with: [UInt8]) {
        self.find = find
        self.with = with
    }
}
