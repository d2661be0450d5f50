import Dataplane

/// What is left of a rule: what the rows do not say, and what to do.
struct CompiledRule: BitwiseCopyable {
    var terminal: Rule.Terminal?
    var isLogged = false
    var isDryRun = false
    /// It decides also a later fragment whose first was forwarded: it asks for fragments, or drops by
    /// a field that each fragment has for itself, TTL or DSCP.
    var decidesLaterFragments = false
    /// What is left to check.
    var asks: Asks = []
    var icmp: Match.ICMP?
    var flow: Match.Flow?
    var sampleEvery: UInt32 = 0
    /// Index in `limits`; negative without.
    var limit: Int32 = -1
    /// From `first` up to `end` of `lengths`, `headerChecks`, `refusedICMP`,
    /// `replacements`.
    var lengths = Slice()
    var headerChecks = Slice()
    var refusedICMP = Slice()
    var replacements = Slice()

    /// Conditions that are looked at rule by rule.
    struct Asks: OptionSet, BitwiseCopyable {
        let rawValue: UInt8
        static let flow = Asks(rawValue: 1)
        static let sample = Asks(rawValue: 2)
        static let icmp = Asks(rawValue: 4)
        static let lengths = Asks(rawValue: 8)
        static let header = Asks(rawValue: 16)
        static let refusedICMP = Asks(rawValue: 32)
    }

    struct Slice: BitwiseCopyable {
        var first: UInt32 = 0
        var end: UInt32 = 0
        @inline(__always) var isEmpty: Bool { first == end }
    }
}

struct LengthRange: BitwiseCopyable {
    var lowest: UInt16
    var highest: UInt16
}

/// Some of a policy's `bytes`.
struct ByteString: BitwiseCopyable {
    var start: UInt32
    var count: UInt32
}

struct CompiledReplacement: BitwiseCopyable {
    var find: ByteString
    var with: ByteString
}
