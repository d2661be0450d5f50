import Dataplane
import RuleEngine
import Support

/// `source`, `destination` and `address`: prefixes of inner addresses.
protocol AddressMatchKey: MatchKey {
    static var condition: ([AddressRange]) -> Match.Condition { get }
    var ranges: [AddressRange] { get }
}

extension AddressMatchKey {
    static var values: String {
        "an address, a prefix such as 10.0.0.0/8 or 2001:db8::/32, @file (a file with one a line, "
            + "beside this one), or a list"
    }
    static var schema: JSONValue { Schema.reference("addresses") }

    static func read(_ field: ConfigField, folder: SetFolder) -> Match.Condition? {
        let expected = "an address, a prefix such as 10.0.0.0/8, or @file"
        let lists = field.all(expected) { item -> [AddressRange]? in
            guard let text = item.text(expected) else { return nil }
            if text.hasPrefix("@") { return readFile(item, String(text.dropFirst()), folder) }
            switch AddressText.prefix(Array(text.utf8)) {
            case .success(let prefix): return [prefix.range]
            case .failure(let refusal): return item.fail(refusal.text(expected, text))
            }
        }
        // A single list is not copied: many rules may name the same set.
        return lists.map { condition($0.count == 1 ? $0[0] : $0.flatMap { $0 }) }
    }

    private static func readFile(
        _ field: ConfigField, _ name: String, _ folder: SetFolder
    ) -> [AddressRange]? {
        guard !name.isEmpty else { return field.expected("a file name after @") }
        switch folder.read(name) {
        case .success(let ranges): return ranges
        case .failure(.unreadable(let error)):
            for line in error.lines { field.fail("@\(name): \(line)") }
        case .failure(.wrong(let error)):
            for line in error.lines { field.failElsewhere(line) }
        }
        return nil
    }

    /// The ranges in plain words.
    var list: String {
        guard ranges.count <= 8 else { return "one of \(ranges.count) prefixes" }
        return Words.any(
            ranges.map { range in
                let host = range.last - range.first
                let length = (range.isIPv6 ? 128 : 32) - (128 - host.leadingZeroBitCount)
                let address = AddressText.format(range.first, isIPv6: range.isIPv6)
                return host == 0 ? address : "\(address)/\(length)"
            })
    }

    /// Every address of `other` is one of these.
    func contain(_ other: [AddressRange]?) -> Bool {
        Shadows.contains(ranges, other) {
            $0.isIPv6 == $1.isIPv6 && $1.first <= $0.first && $0.last <= $1.last
        }
    }
}

struct SourceKey: AddressMatchKey {
    let ranges: [AddressRange]

    static let key = Match.Key.source
    static let help = "The inner source address."
    static let example = "{ source: 10.0.0.0/8 }"
    static let condition = Match.Condition.source

    var words: String { "from \(list)" }
    func covers(_ other: Match) -> Bool { contain(other.source) }
    func contradiction(in match: Match) -> String? { nil }
}

struct DestinationKey: AddressMatchKey {
    let ranges: [AddressRange]

    static let key = Match.Key.destination
    static let help = "The inner destination address."
    static let example = "{ destination: [192.0.2.1, '2001:db8::/32'] }"
    static let condition = Match.Condition.destination

    var words: String { "to \(list)" }
    func covers(_ other: Match) -> Bool { contain(other.destination) }
    func contradiction(in match: Match) -> String? { nil }
}

struct AddressKey: AddressMatchKey {
    let ranges: [AddressRange]

    static let key = Match.Key.address
    static let help = "The inner source or destination address."
    static let example = "{ address: 192.0.2.0/24 }"
    static let condition = Match.Condition.address

    var words: String { "from or to \(list)" }

    func covers(_ other: Match) -> Bool {
        [other.address, other.source, other.destination].contains { contain($0) }
    }

    func contradiction(in match: Match) -> String? {
        guard let source = match.source, let destination = match.destination, !meet(source),
            !meet(destination)
        else { return nil }
        return "neither source nor destination has an address of address"
    }

    private func meet(_ others: [AddressRange]) -> Bool {
        // Long lists of prefixes are not compared one by one.
        guard ranges.count * others.count <= 1 << 16 else { return true }
        return others.contains { other in
            ranges.contains {
                $0.isIPv6 == other.isIPv6 && $0.first <= other.last && other.first <= $0.last
            }
        }
    }
}
