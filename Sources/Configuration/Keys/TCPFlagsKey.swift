import Dataplane
import RuleEngine
import Support
import Wire

/// `tcp-flags: { set: [syn], clear: [ack] }`.
struct TCPFlagsKey: MatchKey {
    let flags: Match.TCPFlags

    static let key = Match.Key.tcpFlags
    static let help = "TCP flags that must be set, and flags that must not."
    static let values = "set and clear, each one of \(names.joined(separator: ", ")), or a list"
    static let example = "{ tcp-flags: { set: syn, clear: [ack, rst] } }"
    static let schema = Schema.object(
        [
            "set": Schema.reference("flags", "All of these are set."),
            "clear": Schema.reference("flags", "None of these is set."),
        ], least: 1)

    static var names: [String] { TCPFlag.names.map(\.key) }

    static func read(_ field: ConfigField, folder: SetFolder) -> Match.Condition? {
        guard let fields = field.section(["set", "clear"]) else { return nil }
        guard !fields.isEmpty else { return field.expected("set, clear or both") }
        func bits(_ key: String) -> UInt8? {
            guard let list = fields[key] else { return 0 }
            let bits = list.all("a flag") { item -> UInt8? in
                guard let flag = TCPFlag.names.first(where: { $0.key == item.plain }) else {
                    return item.expected(ConfigField.oneOf(names))
                }
                return flag.value
            }
            return bits?.reduce(0, |)
        }
        guard let set = bits("set"), let clear = bits("clear") else { return nil }
        guard set & clear == 0 else {
            return field.fail("can never match: a flag is both in set and in clear")
        }
        return .tcpFlags(Match.TCPFlags(set: set, clear: clear))
    }

    var words: String {
        func list(_ bits: UInt8) -> String {
            TCPFlag.names.filter { bits & $0.value != 0 }.map { $0.key.uppercased() }
                .joined(separator: " and ")
        }
        let set = flags.set == 0 ? nil : "with \(list(flags.set))"
        let clear = flags.clear == 0 ? nil : "without \(list(flags.clear))"
        return [set, clear].compactMap { $0 }.joined(separator: " ")
    }

    func covers(_ other: Match) -> Bool {
        guard let theirs = other.tcpFlags else { return false }
        return flags.set & ~theirs.set == 0 && flags.clear & ~theirs.clear == 0
    }

    func contradiction(in match: Match) -> String? { nil }
}
