import Wire

/// One record of a capture file.
public struct CaptureFrame: Equatable, Sendable {
    /// From 1 on, as Wireshark counts.
    public var number: Int
    /// Nanoseconds since 1970, or since whatever the file counts from.
    public var time: UInt64
    /// Bytes that the frame had on its link.
    public var length: Int
    public var content: Content

    /// What a frame is to an appliance.
    public enum Content: Equatable, Sendable {
        /// An IP packet outside Geneve.
        case plain([UInt8])
        /// The same with an impossible header: what is there of it.
        case malformed([UInt8])
        case geneve(Encapsulated)
        case skipped(Reason)
    }

    /// Geneve, whatever is in it.
    public struct Encapsulated: Equatable, Sendable {
        /// The whole outer IP packet.
        public var bytes: [UInt8]
        var source: IPv6Address
        var destination: IPv6Address
        var ttl: UInt8
        var inner: Inner

        enum Inner: Equatable, Sendable {
            /// Where the inner IP packet stands in `bytes`.
            case packet(Range<Int>)
            /// No IP packet, and why.
            case skipped(Reason)
        }
    }

    /// Why a frame holds no packet to look at.
    public enum Reason: Equatable, Sendable {
        /// Neither IPv4 nor IPv6, ARP for one.
        case notIP
        /// Of an interface whose link type is not read.
        case linkType(UInt32)
        /// Captured with fewer bytes than the packet had (tcpdump's `-s`).
        case truncated
        /// An impossible IP or Geneve header.
        case malformed
        /// Geneve in outer fragments, which are not put together.
        case outerFragment
    }
}
