/// What can be wrong with a returned packet. A packet is counted under one
/// kind only, the one that names the cause: headers from the outside in, then the inner packet,
/// then when it came.
public enum Violation: String, CaseIterable, Sendable, BitwiseCopyable {
    /// The outer addresses are not those of the sent packet, swapped.
    case addresses
    /// The outer UDP ports are not those of the sent packet, unswapped.
    case ports
    /// The Geneve header or an option differs from what was sent.
    case geneve
    /// The outer UDP checksum is neither right nor zero, or the outer header's is wrong.
    case outerChecksum = "outer_checksum"
    /// The inner packet is as expected, but for its checksums.
    case innerChecksum = "inner_checksum"
    /// The inner packet is not one that was expected.
    case payload
    /// Belongs to no flow.
    case unexpected
    /// Should have been dropped.
    case missingDrop = "missing_drop"
    /// Came back more often than it was sent.
    case duplicate
    /// Came back after a packet that was sent after it.
    case reordered
    /// Came back too late.
    case late

    var index: Int { Violation.allCases.firstIndex(of: self)! }
}
