import Dataplane
import RuleEngine
import Support
import Wire

/// `protocol: udp`, a number, or a list.
struct ProtocolKey: MatchKey {
    let protocols: ByteSet

    static let key = Match.Key.protocols
    static let help = "The protocol of the inner packet, behind IPv6 extension headers."
    static let values =
        "\(ProtocolNames.words.joined(separator: ", ")), a number from 0 to 255, or a list"
    static let example = "{ protocol: [udp, tcp] }"
    static let schema = Schema.oneOrList(
        Schema.either([Schema.choice(ProtocolNames.words), Schema.reference("byte")]))

    static func read(_ field: ConfigField, folder: SetFolder) -> Match.Condition? {
        let expected = "\(ProtocolNames.words.joined(separator: ", ")) or a number from 0 to 255"
        let numbers = field.all("a protocol") { item -> UInt8? in
            guard let word = item.word else { return item.expected(expected) }
            if let number = ProtocolNames.number(of: word) ?? UInt8(word) { return number }
            let near = NearMiss.of(word, in: ProtocolNames.words)
            return item.expected(expected + (near.map { " (did you mean \($0)?)" } ?? ""))
        }
        return numbers.map { .protocols(ByteSet($0)) }
    }

    var words: String { Words.any(protocols.members.map(ProtocolNames.name)) }

    func covers(_ other: Match) -> Bool { other.needs.protocols.isSubset(of: protocols) }

    func contradiction(in match: Match) -> String? { nil }
}

/// Names of protocol numbers, for all who read or write them.
package enum ProtocolNames {
    /// As words tell them; the file has them in small letters.
    private static let numbers: KeyValuePairs<String, UInt8> = [
        "UDP": IPProtocol.udp, "TCP": IPProtocol.tcp, "ICMP": IPProtocol.icmp,
        "ICMPv6": IPProtocol.icmpv6, "SCTP": 132, "GRE": 47, "ESP": 50,
    ]

    static var words: [String] { numbers.map { $0.key.lowercased() } }

    static func number(of word: String) -> UInt8? {
        numbers.first { $0.key.lowercased() == word }?.value
    }

    package static func name(_ number: UInt8) -> String {
        numbers.first { $0.value == number }?.key ?? "protocol \(number)"
    }

    /// The names of those in the set that have one, as in the file: "udp and tcp".
    static func list(_ protocols: ByteSet) -> String {
        numbers.filter { protocols.contains($0.value) }.map { $0.key.lowercased() }
            .joined(separator: " and ")
    }
}
