import CSluice
import RuleEngine

/// The allowance counters of EC2's network cards: the driver gives them as statistics whose names
/// end in `_allowance_exceeded`. Other cards have none.
enum CardAllowances {
    private static let suffix = "_allowance_exceeded"
    /// ENA has some 30, and 20 for each of up to 64 queues.
    private static let room = 4096
    /// ETH_GSTRING_LEN.
    private static let nameLength = 32

    static func read(_ interfaces: [String]) -> [AllowanceReading] {
        interfaces.flatMap { interface in
            exceeded(statistics(of: interface)).map {
                AllowanceReading(interface: interface, kind: $0.kind, packets: $0.packets)
            }
        }
    }

    /// Those of a card's statistics that are allowances.
    static func exceeded(
        _ statistics: [(name: String, value: UInt64)]
    ) -> [(kind: String, packets: UInt64)] {
        statistics.filter { $0.name.hasSuffix(suffix) && $0.name.count > suffix.count }
            .map { (String($0.name.dropLast(suffix.count)), $0.value) }
    }

    /// Needs no privilege. Empty when the driver has none.
    static func statistics(of interface: String) -> [(name: String, value: UInt64)] {
        var names = [CChar](repeating: 0, count: room * nameLength)
        var values = [UInt64](repeating: 0, count: room)
        // Sound: both arrays have `room` entries, and a card with more of them writes none.
        let count = unsafe Int(sluice_card_statistics(interface, &names, &values, Int32(room)))
        return (0..<max(0, count)).map { i in
            let bytes = names[i * nameLength..<(i + 1) * nameLength].prefix { $0 != 0 }
            return (String(decoding: bytes.map { UInt8(bitPattern: $0) }, as: UTF8.self), values[i])
        }
    }
}
