public struct ControlReply: Codable, Sendable {
    public var ok: Bool
    public var generation: UInt64?
    public var errors: [String]?

    public init(generation: UInt64) {
        ok = true
        self.generation = generation
    }

    public init(errors: [String]) {
        ok = false
        self.errors = errors
    }
}
