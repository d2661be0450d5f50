import SluiceCore

/// Builds outer packets as a gateway load balancer sends them, and ones that it never would.
///
/// Plain byte arrays and a checksum of its own: an independent second opinion on the codec.
public struct PacketBuilder: Sendable {
    /// One Geneve option, as it goes on the wire.
    public struct Option: Sendable {
        public var optionClass: UInt16
        public var type: UInt8
        public var reserved: UInt8 = 0
        /// A multiple of four bytes.
        public var data: [UInt8]

        public init(_ optionClass: UInt16, _ type: UInt8, _ data: [UInt8]) {
            self.optionClass = optionClass
            self.type = type
            self.data = data
        }

        public static func endpoint(_ id: UInt64) -> Option { Option(0x0108, 1, bigEndian(id)) }
        public static func attachment(_ id: UInt64) -> Option { Option(0x0108, 2, bigEndian(id)) }
        public static func cookie(_ value: UInt32) -> Option { Option(0x0108, 3, bigEndian(value)) }

        var bytes: [UInt8] {
            bigEndian(optionClass) + [type, reserved << 5 | UInt8(data.count / 4)] + data
        }
    }

    public enum Checksum: Sendable { case valid, zero, wrong }

    public var source: UInt32 = 0x0A4D_0001
    public var destination: UInt32 = 0x0A4D_0002
    public var sourcePort: UInt16 = 25_322
    public var destinationPort: UInt16 = 6081
    public var timeToLive: UInt8 = 255
    public var typeOfService: UInt8 = 0
    public var identification: UInt16 = 0
    public var flagsAndOffset: UInt16 = 0
    /// A multiple of four bytes, at most 40.
    public var outerOptions: [UInt8] = []
    public var outerChecksum = Checksum.valid
    public var version: UInt8 = 0
    public var isControl = false
    public var hasCriticalOptions = false
    public var reserved: (UInt8, UInt8) = (0, 0)
    public var vni: UInt32 = 0
    public var options: [Option] = [
        .endpoint(0x2356_de92_d389_839c), .attachment(0), .cookie(0x98ef_1b00),
    ]
    /// Nil: by the inner packet's version nibble.
    public var protocolType: UInt16?
    public var inner: [UInt8]
    /// Bytes after the inner packet.
    public var trailing: [UInt8] = []

    public init(_ inner: [UInt8]) { self.inner = inner }

    /// The whole outer IPv4 packet.
    public func bytes() -> [UInt8] {
        let optionBytes = options.flatMap(\.bytes)
        let type = protocolType ?? (inner.first.map { $0 >> 4 } == 6 ? 0x86DD : 0x0800)
        var geneve: [UInt8] = [
            version << 6 | UInt8(optionBytes.count / 4 & 0x3F),
            (isControl ? 0x80 : 0) | (hasCriticalOptions ? 0x40 : 0) | reserved.0 & 0x3F,
        ]
        geneve += bigEndian(type)
        geneve += bigEndian(vni << 8 | UInt32(reserved.1))
        let payload = geneve + optionBytes + inner + trailing
        let udp = Self.udp(
            source: bigEndian(source), destination: bigEndian(destination), sourcePort,
            destinationPort, payload, checksum: outerChecksum)
        return Self.ipv4(
            source: source, destination: destination, protocolNumber: 17, udp,
            timeToLive: timeToLive, typeOfService: typeOfService,
            identification: identification, flagsAndOffset: flagsAndOffset, options: outerOptions)
    }

    // ---- Inner packets.

    public static func ipv4(
        source: UInt32 = 0xC0A8_010A, destination: UInt32 = 0xC0A8_020A, protocolNumber: UInt8,
        _ payload: [UInt8], timeToLive: UInt8 = 62, typeOfService: UInt8 = 0,
        identification: UInt16 = 0x1234, flagsAndOffset: UInt16 = 0, options: [UInt8] = []
    ) -> [UInt8] {
        precondition(options.count % 4 == 0 && options.count <= 40)
        let length = 20 + options.count
        var header: [UInt8] = [UInt8(0x40 | length / 4), typeOfService]
        header += bigEndian(UInt16(truncatingIfNeeded: length + payload.count))
        header += bigEndian(identification) + bigEndian(flagsAndOffset)
        header += [timeToLive, protocolNumber, 0, 0]
        header += bigEndian(source) + bigEndian(destination) + options
        let sum = internetChecksum(header)
        header.replaceSubrange(10..<12, with: bigEndian(sum))
        return header + payload
    }

    /// An IPv6 extension header: its own number, and its bytes with the next-header byte unset.
    public typealias Extension = (number: UInt8, bytes: [UInt8])

    /// Hop-by-hop 0, routing 43 or destination options 60, of 8 × (units + 1) bytes.
    public static func extensionHeader(_ number: UInt8, units: UInt8 = 0) -> Extension {
        (number, [0, units] + [UInt8](repeating: 0, count: 6 + Int(units) * 8))
    }

    /// A fragment header: offset in bytes, a multiple of 8. (0, false) is an atomic fragment.
    public static func fragmentHeader(
        offset: UInt16, more: Bool, identification: UInt32 = 0x0102_0304
    ) -> Extension {
        (44, [0, 0] + bigEndian(offset & ~7 | (more ? 1 : 0)) + bigEndian(identification))
    }

    public static func ipv6(
        source: [UInt8] = address6(1), destination: [UInt8] = address6(2), nextHeader: UInt8,
        _ payload: [UInt8], extensions: [Extension] = []
    ) -> [UInt8] {
        var chain: [UInt8] = []
        for (i, header) in extensions.enumerated() {
            var bytes = header.bytes
            bytes[0] = i + 1 < extensions.count ? extensions[i + 1].number : nextHeader
            chain += bytes
        }
        var packet: [UInt8] = [0x60, 0, 0, 0]
        packet += bigEndian(UInt16(truncatingIfNeeded: chain.count + payload.count))
        packet += [extensions.first?.number ?? nextHeader, 62]
        return packet + source + destination + chain + payload
    }

    /// fd00::`last`.
    public static func address6(_ last: UInt8) -> [UInt8] {
        [0xfd] + [UInt8](repeating: 0, count: 14) + [last]
    }

    /// A UDP header and its payload. `source` and `destination` are the IP addresses, 4 or 16
    /// bytes each, for the pseudo-header.
    public static func udp(
        source: [UInt8], destination: [UInt8], _ sourcePort: UInt16, _ destinationPort: UInt16,
        _ payload: [UInt8], checksum: Checksum = .valid
    ) -> [UInt8] {
        var datagram = bigEndian(sourcePort) + bigEndian(destinationPort)
        datagram += bigEndian(UInt16(truncatingIfNeeded: 8 + payload.count)) + [0, 0] + payload
        var sum = transportChecksum(source, destination, 17, datagram)
        if sum == 0 { sum = 0xFFFF }
        switch checksum {
        case .valid: break
        case .zero: sum = 0
        case .wrong: sum = sum == 0x1234 ? 0x4321 : 0x1234
        }
        datagram.replaceSubrange(6..<8, with: bigEndian(sum))
        return datagram
    }

    /// An IPv4 UDP packet from 192.168.1.10 to 192.168.2.10.
    public static func udp4(
        _ sourcePort: UInt16, _ destinationPort: UInt16, _ payload: [UInt8],
        checksum: Checksum = .valid, options: [UInt8] = [], flagsAndOffset: UInt16 = 0,
        source: UInt32 = 0xC0A8_010A, destination: UInt32 = 0xC0A8_020A
    ) -> [UInt8] {
        let datagram = udp(
            source: bigEndian(source), destination: bigEndian(destination), sourcePort,
            destinationPort, payload, checksum: checksum)
        return ipv4(
            source: source, destination: destination, protocolNumber: 17, datagram,
            flagsAndOffset: flagsAndOffset, options: options)
    }

    public static func udp6(
        _ sourcePort: UInt16, _ destinationPort: UInt16, _ payload: [UInt8],
        checksum: Checksum = .valid, extensions: [Extension] = []
    ) -> [UInt8] {
        let datagram = udp(
            source: address6(1), destination: address6(2), sourcePort, destinationPort, payload,
            checksum: checksum)
        return ipv6(nextHeader: 17, datagram, extensions: extensions)
    }

    /// A TCP header and its payload. `source` and `destination` are the IP addresses, 4 or 16
    /// bytes each, for the pseudo-header.
    public static func tcp(
        source: [UInt8], destination: [UInt8], _ sourcePort: UInt16, _ destinationPort: UInt16,
        _ payload: [UInt8], flags: UInt8 = TCPFlag.psh | TCPFlag.ack
    ) -> [UInt8] {
        var segment = bigEndian(sourcePort) + bigEndian(destinationPort)
        segment += bigEndian(1 as UInt32) + bigEndian(2 as UInt32)
        segment += [0x50, flags] + bigEndian(8192 as UInt16) + [0, 0, 0, 0] + payload
        let sum = transportChecksum(source, destination, 6, segment)
        segment.replaceSubrange(16..<18, with: bigEndian(sum))
        return segment
    }

    public static func tcp4(
        _ sourcePort: UInt16, _ destinationPort: UInt16, _ payload: [UInt8],
        flags: UInt8 = TCPFlag.psh | TCPFlag.ack,
        source: UInt32 = 0xC0A8_010A, destination: UInt32 = 0xC0A8_020A
    ) -> [UInt8] {
        let segment = tcp(
            source: bigEndian(source), destination: bigEndian(destination), sourcePort,
            destinationPort, payload, flags: flags)
        return ipv4(source: source, destination: destination, protocolNumber: 6, segment)
    }

    public static func tcp6(
        _ sourcePort: UInt16, _ destinationPort: UInt16, _ payload: [UInt8],
        flags: UInt8 = TCPFlag.psh | TCPFlag.ack, extensions: [Extension] = []
    ) -> [UInt8] {
        let segment = tcp(
            source: address6(1), destination: address6(2), sourcePort, destinationPort, payload,
            flags: flags)
        return ipv6(nextHeader: 6, segment, extensions: extensions)
    }

    // ---- The same with addresses as text, both IPv4 or both IPv6: "192.0.2.1", "2001:db8::1".

    public static func udp(
        from source: String, _ sourcePort: UInt16, to destination: String,
        _ destinationPort: UInt16, _ payload: [UInt8], checksum: Checksum = .valid
    ) -> [UInt8] {
        let (source, destination) = addresses(source, destination)
        return ip(
            source, destination, 17,
            udp(
                source: source, destination: destination, sourcePort, destinationPort, payload,
                checksum: checksum))
    }

    public static func tcp(
        from source: String, _ sourcePort: UInt16, to destination: String,
        _ destinationPort: UInt16, _ payload: [UInt8],
        flags: UInt8 = TCPFlag.psh | TCPFlag.ack
    ) -> [UInt8] {
        let (source, destination) = addresses(source, destination)
        return ip(
            source, destination, 6,
            tcp(
                source: source, destination: destination, sourcePort, destinationPort, payload,
                flags: flags))
    }

    /// An IP packet of any other protocol.
    public static func ip(
        from source: String, to destination: String, protocolNumber: UInt8, _ payload: [UInt8]
    ) -> [UInt8] {
        let (source, destination) = addresses(source, destination)
        return ip(source, destination, protocolNumber, payload)
    }

    private static func ip(
        _ source: [UInt8], _ destination: [UInt8], _ number: UInt8, _ payload: [UInt8]
    ) -> [UInt8] {
        guard source.count == 4 else {
            return ipv6(
                source: source, destination: destination, nextHeader: number, payload)
        }
        func word(_ bytes: [UInt8]) -> UInt32 { bytes.reduce(0) { $0 << 8 | UInt32($1) } }
        return ipv4(
            source: word(source), destination: word(destination), protocolNumber: number, payload)
    }

    /// The bytes of both, 4 or 16 each.
    private static func addresses(_ source: String, _ destination: String) -> ([UInt8], [UInt8]) {
        let both = [source, destination].map { text in
            guard let address = IPAddress(text) else {
                preconditionFailure("'\(text)' is no IPv4 or IPv6 address")
            }
            let bytes = bigEndian(address.bits.high) + bigEndian(address.bits.low)
            return address.version == 4 ? Array(bytes.suffix(4)) : bytes
        }
        precondition(
            both[0].count == both[1].count, "\(source) and \(destination): two IP versions")
        return (both[0], both[1])
    }

    public static func icmp4(
        type: UInt8, code: UInt8 = 0, identifier: UInt16 = 7, sequence: UInt16,
        _ payload: [UInt8] = [UInt8](repeating: 0x61, count: 56)
    ) -> [UInt8] {
        var message = [type, code, 0, 0] + bigEndian(identifier) + bigEndian(sequence) + payload
        message.replaceSubrange(2..<4, with: bigEndian(internetChecksum(message)))
        return ipv4(protocolNumber: 1, message)
    }

    public static func icmp6(
        type: UInt8, identifier: UInt16 = 7, sequence: UInt16,
        _ payload: [UInt8] = [UInt8](repeating: 0x61, count: 56)
    ) -> [UInt8] {
        var message = [type, 0, 0, 0] + bigEndian(identifier) + bigEndian(sequence) + payload
        let sum = transportChecksum(address6(1), address6(2), 58, message)
        message.replaceSubrange(2..<4, with: bigEndian(sum))
        return ipv6(nextHeader: 58, message)
    }
}

/// RFC 1071 written as plainly as possible: 16 bits at a time, carries at the end.
public func internetChecksum(_ bytes: [UInt8]) -> UInt16 {
    var sum: UInt32 = 0
    for i in stride(from: 0, to: bytes.count, by: 2) {
        sum += UInt32(bytes[i]) << 8 | (i + 1 < bytes.count ? UInt32(bytes[i + 1]) : 0)
        if sum > 0xFFFF { sum -= 0xFFFF }
    }
    return ~UInt16(sum)
}

/// The checksum of a transport header and payload with its pseudo-header (RFC 768, RFC 9293
/// §3.1, RFC 8200 §8.1); addresses of 4 or 16 bytes.
public func transportChecksum(
    _ source: [UInt8], _ destination: [UInt8], _ protocolNumber: UInt8, _ bytes: [UInt8]
) -> UInt16 {
    let pseudo =
        source + destination + bigEndian(UInt32(bytes.count)) + [0, 0, 0, protocolNumber]
    return internetChecksum(pseudo + bytes)
}

/// The bytes of an integer, most significant first.
public func bigEndian<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
    (0..<T.bitWidth / 8).map { UInt8(truncatingIfNeeded: value >> (T.bitWidth - 8 - $0 * 8)) }
}

/// A small repeatable source of numbers: tests name their seed.
public typealias SeededGenerator = SplitMix64
