import SluiceCore

/// Logs where hosts go: the names that they ask DNS for, and the server names of their TLS
/// connections. Forwards everything but the names that the configuration blocks.
struct EgressLogger: PacketProcessor {
    struct Configuration: Decodable, Sendable {
        /// UDP and TCP ports.
        var dnsPort: UInt16 = 53
        var tlsPort: UInt16 = 443
        /// Names whose packets are dropped; `example.com` stands for `www.example.com`, too.
        var blocked: [String] = []
    }

    enum Counter: CaseIterable { case dnsQueries, tlsHellos, blocked }

    struct Event: BitwiseCopyable {
        var isDNS: Bool
        var isBlocked: Bool
        var client: IPAddress
        var name: InlineText
    }

    static let defaultConfiguration: Configuration? = Configuration()

    static func validate(_ configuration: Configuration) throws {
        guard configuration.dnsPort != configuration.tlsPort else {
            throw ConfigurationError("DNS and TLS cannot have the same port", key: "tls-port")
        }
    }

    static func handle(_ event: Event, log: EventLog) {
        let what = event.isDNS ? "asks for" : "connects to"
        log.info("\(event.client) \(what) \(event.name)\(event.isBlocked ? ": blocked" : "")")
    }

    private var configuration: Configuration
    /// Not as `String`, which would allocate for each packet that it is compared with.
    private var blocked: [InlineText] = []

    init(configuration: Configuration, worker: Int) {
        self.configuration = configuration
        adopt(configuration)
    }

    mutating func adopt(_ configuration: Configuration) {
        self.configuration = configuration
        blocked = configuration.blocked.compactMap { InlineText($0) }
    }

    @inline(__always)
    mutating func process(
        _ packet: inout Packet, flow: inout NoFlowState, context: inout Context
    ) -> Verdict {
        let (number, port) = (packet.protocolNumber, packet.destinationPort)
        let isDNS = number == IPProtocol.udp && port == configuration.dnsPort
        let isTLS = number == IPProtocol.tcp && port == configuration.tlsPort
        guard isDNS || isTLS, packet.payloadLength > 0 else { return .forward }
        var reader = packet.payloadReader
        guard let name = isDNS ? dnsName(&reader) : serverName(&reader) else { return .forward }
        let isBlocked = isListed(name)
        context.count(isDNS ? .dnsQueries : .tlsHellos)
        context.emit(
            Event(isDNS: isDNS, isBlocked: isBlocked, client: packet.sourceAddress, name: name))
        guard isBlocked else { return .forward }
        context.count(.blocked)
        return .drop
    }

    private func isListed(_ name: InlineText) -> Bool {
        for i in blocked.indices where name.isWithin(domain: blocked[i]) { return true }
        return false
    }
}

/// The name of the first question of a DNS query (RFC 1035 §4.1).
private func dnsName(_ reader: inout PayloadReader) -> InlineText? {
    guard reader.skip(2), let flags = reader.u16(), flags & 0x8000 == 0,
        let questions = reader.u16(), questions > 0, reader.skip(6)
    else { return nil }
    var name = InlineText()
    while let length = reader.u8(), length > 0 {
        // A question has no compressed names.
        guard length < 64, name.count == 0 || name.append(UInt8(ascii: ".")) else { return nil }
        for _ in 0..<length {
            guard let byte = reader.u8(), name.append(byte) else { return nil }
        }
    }
    return name
}

/// The server name of a TLS ClientHello (RFC 8446 §4.1.2, RFC 6066 §3) that lies in one segment.
private func serverName(_ reader: inout PayloadReader) -> InlineText? {
    // Record: handshake, version, length; message: client_hello, length, version, random.
    guard reader.u8() == 22, reader.skip(4), reader.u8() == 1, reader.skip(37),
        let session = reader.u8(), reader.skip(Int(session)),
        let ciphers = reader.u16(), reader.skip(Int(ciphers)),
        let compressions = reader.u8(), reader.skip(Int(compressions)),
        reader.skip(2)
    else { return nil }
    while let type = reader.u16(), let length = reader.u16() {
        guard type == 0 else {
            guard reader.skip(Int(length)) else { return nil }
            continue
        }
        // One list of names, of which the first is a host name.
        guard reader.skip(2), reader.u8() == 0, let count = reader.u16() else { return nil }
        return reader.text(Int(count))
    }
    return nil
}
