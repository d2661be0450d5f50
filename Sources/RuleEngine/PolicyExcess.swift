import Dataplane

/// A policy of which something is more than there is room for: what, and how much is the most.
public struct PolicyExcess: Error, CustomStringConvertible, Sendable {
    public let description: String
    init(_ description: String) { self.description = description }
}
