import Dataplane
import Wire

/// Parts of a packet in words, for all who tell of packets.
package enum PacketWords {
    package struct ICMP: Encodable, Equatable, Sendable {
        package var type: UInt8
        package var code: UInt8

        package init(type: UInt8, code: UInt8) {
            self.type = type
            self.code = code
        }
    }

    package static func address(_ address: IPv6Address, version: UInt8) -> String {
        AddressText.format(
            UInt128(address.high) << 64 | UInt128(address.low), isIPv6: version == 6)
    }

    /// An address, with its port where there is one: 192.0.2.1:53, [2001:db8::1]:53.
    package static func end(_ address: IPv6Address, _ port: UInt16?, version: UInt8) -> String {
        let text = PacketWords.address(address, version: version)
        guard let port else { return text }
        return version == 6 ? "[\(text)]:\(port)" : "\(text):\(port)"
    }

    /// The TCP flags that are set, as the file names them.
    package static func flags(_ bits: UInt8) -> [String] {
        TCPFlag.names.filter { bits & $0.value != 0 }.map(\.key)
    }
}
