import SluiceCore

/// Shortens how long resolvers may keep what DNS answers: a time to live (RFC 1035 §4.1.3) above
/// the limit becomes the limit.
public struct DNSLifetime: PacketProcessor {
    public struct Configuration: Decodable, Sendable {
        /// Seconds.
        public var limit: UInt32 = 60

        public init() {}
    }

    public enum Counter: CaseIterable { case shortened }

    public static let defaultConfiguration: Configuration? = Configuration()

    private var limit: UInt32

    public init(configuration: Configuration, worker: Int) { limit = configuration.limit }

    public mutating func adopt(_ configuration: Configuration) { limit = configuration.limit }

    @inline(__always)
    public mutating func process(
        _ packet: inout Packet, flow: inout NoFlowState, context: inout Context
    ) -> Verdict {
        guard packet.protocolNumber == IPProtocol.udp, packet.sourcePort == 53 else {
            return .forward
        }
        guard let (first, count) = answers(packet.payloadReader) else { return .forward }
        var offset = first
        for _ in 0..<count {
            // A change ends every reader of the packet: each record has its own.
            var reader = packet.payloadReader(from: offset)
            guard skipName(&reader), reader.skip(4), let lifetime = reader.u32() else { break }
            let place = reader.offset - 4
            guard let length = reader.u16(), reader.skip(Int(length)) else { break }
            offset = reader.offset
            if lifetime > limit, packet.write(u32: limit, at: place) { context.count(.shortened) }
        }
        return .forward
    }
}

/// Where the answers of a DNS message begin, and how many there are (RFC 1035 §4.1.1).
private func answers(_ start: consuming PayloadReader) -> (first: Int, count: UInt16)? {
    var reader = start
    guard reader.skip(2), let flags = reader.u16(), flags & 0x8000 != 0,
        let questions = reader.u16(), let answers = reader.u16(), reader.skip(4)
    else { return nil }
    for _ in 0..<questions {
        guard skipName(&reader), reader.skip(4) else { return nil }
    }
    return (reader.offset, answers)
}

/// A name ends with an empty label, or points to where it goes on (RFC 1035 §4.1.4).
private func skipName(_ reader: inout PayloadReader) -> Bool {
    while let length = reader.u8() {
        if length & 0xC0 == 0xC0 { return reader.skip(1) }
        if length == 0 { return true }
        guard reader.skip(Int(length)) else { return false }
    }
    return false
}
