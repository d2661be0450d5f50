/// How fast packets are offered.
public enum OfferedRate: Equatable, Sendable {
    case packetsPerSecond(Double)
    /// Bits of outer IPv4 packets.
    case bitsPerSecond(Double)
    /// As fast as the generator can.
    case flatOut
}
