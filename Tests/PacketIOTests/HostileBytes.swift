import SluiceTesting

/// Outer IPv4 packets for steering: valid ones of every shape that the flow hash knows, and what
/// an enemy makes of them. Repeatable.
enum HostileBytes {
    // ---- Valid packets.

    static let chains: [[PacketBuilder.Extension]] =
        (0...6).map { count in (0..<count).map { _ in PacketBuilder.extensionHeader(60) } }
        + [
            [PacketBuilder.extensionHeader(0, units: 3)],
            [PacketBuilder.extensionHeader(43, units: 255)],
            [
                PacketBuilder.extensionHeader(0), PacketBuilder.extensionHeader(43),
                PacketBuilder.extensionHeader(60),
            ],
            [PacketBuilder.fragmentHeader(offset: 0, more: false)],  // atomic: RFC 6946
            [PacketBuilder.fragmentHeader(offset: 0, more: true)],
            [PacketBuilder.fragmentHeader(offset: 1480, more: true)],
            [
                PacketBuilder.extensionHeader(0),
                PacketBuilder.fragmentHeader(offset: 1480, more: false),
            ],
            [
                PacketBuilder.extensionHeader(60), PacketBuilder.extensionHeader(60),
                PacketBuilder.extensionHeader(60),
                PacketBuilder.fragmentHeader(offset: 0, more: false),
            ],
            [
                PacketBuilder.extensionHeader(60), PacketBuilder.extensionHeader(60),
                PacketBuilder.extensionHeader(60), PacketBuilder.extensionHeader(60),
                PacketBuilder.fragmentHeader(offset: 0, more: true),
            ],
        ]

    static let inner: [[UInt8]] = {
        let text = Array("some payload".utf8)
        var packets: [[UInt8]] = [
            PacketBuilder.udp4(40_000, 3000, text), PacketBuilder.udp4(3000, 40_000, []),
            PacketBuilder.udp4(1, 2, text, options: [1, 1, 1, 1]),
            PacketBuilder.udp4(1, 2, text, options: [UInt8](repeating: 1, count: 40)),
            PacketBuilder.tcp4(40_000, 443, text), PacketBuilder.tcp4(22, 50_000, []),
            PacketBuilder.icmp4(type: 8, sequence: 1), PacketBuilder.icmp6(type: 128, sequence: 1),
            PacketBuilder.ipv4(protocolNumber: 47, text),
            PacketBuilder.ipv4(protocolNumber: 50, []),
        ]
        for flags in [0x2000, 0x2001, 0x0001, 0x4000, 0x8000, 0x1FFF] as [UInt16] {
            packets.append(PacketBuilder.udp4(40_000, 3000, text, flagsAndOffset: flags))
        }
        for chain in chains {
            packets.append(PacketBuilder.udp6(40_000, 3000, text, extensions: chain))
        }
        packets.append(PacketBuilder.ipv6(nextHeader: 59, []))
        packets.append(PacketBuilder.ipv6(nextHeader: 6, [1, 2, 3]))
        return packets
    }()

    static let valid: [[UInt8]] = inner.map { PacketBuilder($0).bytes() }

    /// Errors of ICMP about each of them, also about one that is cut off; and what is none.
    static let errors: [[UInt8]] = inner.flatMap { quoted in
        let isIPv6 = quoted[0] >> 4 == 6
        let types: [UInt8] = isIPv6 ? [1, 4, 128] : [3, 11, 5]
        return types.flatMap { type in
            [0, 7, 19, 23, 39, 43, 60, 100, 400].map { count in
                let message = [type, 0, 0, 0, 0, 0, 5, 0] + quoted.prefix(count)
                return PacketBuilder(
                    isIPv6
                        ? PacketBuilder.ipv6(nextHeader: 58, message)
                        : PacketBuilder.ipv4(protocolNumber: 1, message)
                ).bytes()
            }
        }
    }

    // ---- Hostile ones.

    /// Every packet cut at every length, up to a limit that lies well inside all headers.
    static var truncated: [[UInt8]] {
        valid.flatMap { packet in (0..<min(packet.count, 220)).map { Array(packet[0..<$0]) } }
    }

    /// Every outer and inner header length against each other.
    static var headerLengths: [[UInt8]] {
        let builder = PacketBuilder(PacketBuilder.udp4(40_000, 3000, [1, 2, 3]))
        return (0..<16).flatMap { outer in
            (0..<16).map { inner in
                var packet = builder.bytes()
                packet[0] = 0x40 | UInt8(outer)
                packet[68] = 0x40 | UInt8(inner)
                // The port of a Geneve packet, wherever this header length looks for it.
                let port = outer * 4 + 2
                if port != 0 { packet.replaceSubrange(port..<port + 2, with: [0x17, 0xC1]) }
                return packet
            }
        }
    }

    /// Lengths that lie: options longer than the packet, extension headers beyond its end.
    static var lyingLengths: [[UInt8]] {
        valid.flatMap { packet in
            [0, 1, 8, 9, 62, 63].map { words in
                var packet = packet
                packet[28] = UInt8(words)
                return packet
            }
        } + chainLies
    }

    private static var chainLies: [[UInt8]] {
        [0, 1, 2, 3, 4, 31, 254, 255].flatMap { units -> [[UInt8]] in
            (1...4).map { at in
                let chain = (0..<4).map { _ in PacketBuilder.extensionHeader(60) }
                var packet = PacketBuilder(PacketBuilder.udp6(1, 2, [], extensions: chain)).bytes()
                packet[68 + 40 + (at - 1) * 8 + 1] = UInt8(units)
                return packet
            }
        }
    }

    /// Valid packets with a few bytes of their first 160 changed.
    static func mutated(_ count: Int, using random: inout SeededGenerator) -> [[UInt8]] {
        (0..<count).map { _ in
            var packet = valid.randomElement(using: &random)!
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                let at = Int.random(in: 0..<min(160, packet.count), using: &random)
                packet[at] = .random(in: 0...255, using: &random)
            }
            return packet
        }
    }

    /// Random bytes, some of which pass for the beginning of a packet.
    static func noise(_ count: Int, using random: inout SeededGenerator) -> [[UInt8]] {
        (0..<count).map { _ in
            let length = Int.random(in: 0...180, using: &random)
            var bytes = (0..<length).map { _ in UInt8.random(in: 0...255, using: &random) }
            if length > 28, Bool.random(using: &random) {
                bytes[0] = 0x45
                bytes.replaceSubrange(22..<24, with: [0x17, 0xC1])
                bytes[28] = UInt8.random(in: 0...10, using: &random)
            }
            return bytes
        }
    }

    /// Short buffers, of zeros, of ones and of the beginnings of headers.
    static var short: [[UInt8]] {
        (0...64).flatMap { length -> [[UInt8]] in
            [0x00, 0xFF, 0x45, 0x60].map { [UInt8](repeating: $0, count: length) }
        }
    }

    static func all(seed: UInt64) -> [[UInt8]] {
        var random = SeededGenerator(seed: seed)
        return valid + truncated + headerLengths + lyingLengths + short
            + mutated(1500, using: &random) + noise(1500, using: &random)
    }
}
