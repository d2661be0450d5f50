import SluiceCore

/// Inner packets of every kind that rules look at, from few values, so that rules often match.
package enum RandomPacket {
    package static let texts = [
        "drop me", "weakly typed", "hello", "xxDROP ME", "weakly typed drop me", "",
    ]
    package static let ports: [UInt16] = [0, 53, 54, 80, 443, 1000, 3000, 40_000, 65_535]

    /// - Parameter isMarked: with a TTL and a DSCP of their own.
    package static func make(
        _ generator: inout some RandomNumberGenerator, isMarked: Bool = false
    ) -> [UInt8] {
        var inner = inner(&generator)
        if isMarked { mark(&inner, &generator) }
        var packet = PacketBuilder(inner)
        packet.options[0] = .endpoint(UInt64.random(in: 1...4, using: &generator))
        var bytes = packet.bytes()
        // Some are broken in one byte, anywhere.
        if Int.random(in: 0..<16, using: &generator) == 0 {
            let at = Int.random(in: 28..<bytes.count, using: &generator)
            bytes[at] = UInt8.random(in: 0...255, using: &generator)
        }
        return bytes
    }

    private static func inner(_ generator: inout some RandomNumberGenerator) -> [UInt8] {
        let text = Array(texts.randomElement(using: &generator)!.utf8)
        let source = ports.randomElement(using: &generator)!
        let destination = ports.randomElement(using: &generator)!
        let from = address(&generator)
        let to = address(&generator)
        let type = [0, 8, 3, 11, 128, 129].randomElement(using: &generator)! as UInt8
        let sequence = UInt16.random(in: 0...12, using: &generator)
        switch Int.random(in: 0..<9, using: &generator) {
        case 0, 1:
            return PacketBuilder.udp4(source, destination, text, source: from, destination: to)
        case 2:
            let flags = UInt8.random(in: 0...31, using: &generator)
            return PacketBuilder.tcp4(
                source, destination, text, flags: flags, source: from, destination: to)
        case 3: return PacketBuilder.icmp4(type: type, code: 0, sequence: sequence)
        case 4: return PacketBuilder.icmp6(type: type, sequence: sequence)
        case 5: return PacketBuilder.udp6(source, destination, text)
        case 6:
            return PacketBuilder.udp4(
                source, destination, text, flagsAndOffset: 0x2000, source: from, destination: to)
        case 7:
            return PacketBuilder.ipv4(
                source: from, destination: to, protocolNumber: 17, text,
                identification: UInt16.random(in: 0...3, using: &generator),
                flagsAndOffset: 0x0002)
        default:
            let number = [47, 50, 132, 6, 17].randomElement(using: &generator)! as UInt8
            return PacketBuilder.ipv4(
                source: from, destination: to, protocolNumber: number, text)
        }
    }

    /// Gives the inner packet one of few TTLs, and of few DSCPs with any ECN bits.
    private static func mark(_ inner: inout [UInt8], _ generator: inout some RandomNumberGenerator)
    {
        let ttl = [0, 1, 2, 64, 255].randomElement(using: &generator)! as UInt8
        let ecn = UInt8.random(in: 0...3, using: &generator)
        let service = ([0, 8, 46, 63].randomElement(using: &generator)! as UInt8) << 2 | ecn
        guard inner[0] >> 4 == 4 else {
            inner[0] = 6 << 4 | service >> 4
            inner[1] = service << 4 | inner[1] & 0x0F
            inner[7] = ttl
            return
        }
        inner[1] = service
        inner[8] = ttl
        inner[10] = 0
        inner[11] = 0
        var sum = stride(from: 0, to: 20, by: 2).reduce(0) {
            $0 + (Int(inner[$1]) << 8 | Int(inner[$1 + 1]))
        }
        while sum > 0xFFFF { sum = sum >> 16 + sum & 0xFFFF }
        inner[10] = UInt8(~sum >> 8 & 0xFF)
        inner[11] = UInt8(~sum & 0xFF)
    }

    private static func address(_ generator: inout some RandomNumberGenerator) -> UInt32 {
        [0x0A00_0001, 0x0A00_0101, 0x0A01_0101, 0xC0A8_0101, 0xC0A8_01FE, 0xFFFF_FFFF, 0]
            .randomElement(using: &generator)!
    }
}
