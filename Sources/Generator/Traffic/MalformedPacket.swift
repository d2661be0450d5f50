import Wire

/// A packet with one fault, for `--malformed`.
public struct MalformedPacket: Sendable {
    /// What a right appliance does with it, whatever its policy.
    public enum Expectation: Sendable {
        case drop
        /// It comes back unchanged, addresses swapped as always: what looks wrong must not
        /// matter to who only forwards.
        case pass
    }

    /// Layer and fault: "geneve/version 2".
    public let name: String
    public let expectation: Expectation
    let spoil: @Sendable (inout MalformedDraft) -> Void

    init(
        _ name: String, _ expectation: Expectation = .drop,
        _ spoil: @escaping @Sendable (inout MalformedDraft) -> Void
    ) {
        self.name = name
        self.expectation = expectation
        self.spoil = spoil
    }

    /// The outer packet, from the first byte of its IP header; at most 512 bytes. The outer
    /// checksums are right except where they are the fault.
    ///
    /// Outer addresses, port, ids and cookie are the header's. Inside is UDP without anything that
    /// a policy looks for, with the header's source port; the inner version is the fault's own.
    public func bytes(_ header: GatewayHeader, checksum: OuterChecksum = .valid) -> [UInt8] {
        var draft = MalformedDraft(header)
        spoil(&draft)
        return draft.bytes(checksum)
    }
}
