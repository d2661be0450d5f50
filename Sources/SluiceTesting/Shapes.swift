/// Inner packets of many shapes, all checksums right.
package enum Shapes {
    package static let text = Array("how do you do".utf8)

    package static func all(number: UInt16 = 1) -> [[UInt8]] {
        [
            PacketBuilder.udp4(40_000, 53, text + bigEndian(number)),
            PacketBuilder.udp4(40_000, 53, [], checksum: .zero),
            PacketBuilder.udp4(40_001, 53, text, options: [1, 1, 1, 0]),
            PacketBuilder.udp6(40_000, 53, text + bigEndian(number)),
            PacketBuilder.udp6(
                40_000, 54, text, extensions: [(60, [0, 0, 1, 4, 0, 0, 0, 0])]),
            PacketBuilder.tcp4(40_000, 443, text + bigEndian(number)),
            PacketBuilder.icmp4(type: 8, sequence: number),
            PacketBuilder.icmp6(type: 128, sequence: number),
            PacketBuilder.ipv4(protocolNumber: 50, text),
            PacketBuilder.ipv4(protocolNumber: 17, text, flagsAndOffset: 0x2000),
            PacketBuilder.ipv4(protocolNumber: 17, text, flagsAndOffset: 0x0010),
            PacketBuilder.ipv6(nextHeader: 59, []),
        ]
    }
}

extension Array where Element == UInt8 {
    /// With the byte at `index` flipped.
    package func flipping(_ index: Int, _ mask: UInt8 = 0xFF) -> [UInt8] {
        var copy = self
        copy[index] ^= mask
        return copy
    }
}
