/// The outer UDP checksum of what we send.
public enum OuterChecksum: String, CaseIterable, Sendable {
    case valid, zero
}
