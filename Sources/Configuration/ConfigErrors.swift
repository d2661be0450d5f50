import Glibc
import Support

/// What is wrong with a config file, one line for each mistake, in the order of the file. Of very
/// many the first are told, of a very long line the beginning: they also go into logs and replies.
public struct ConfigErrors: Error, CustomStringConvertible, Sendable {
    static let mostLines = 100
    private static let longestLine = 1000

    public let lines: [String]

    public init(_ lines: [String]) {
        var told = lines.prefix(ConfigErrors.mostLines).map { line in
            ConfigErrors.oneLine(line)
        }
        if lines.count > told.count { told.append("and \(lines.count - told.count) more") }
        self.lines = told
    }

    /// Without what could end the line or steer a terminal, and not too long.
    private static func oneLine(_ line: String) -> String {
        let text = line.prefix(longestLine).unicodeScalars.map { scalar in
            scalar.steersTerminals
                ? scalar.value < 256
                    ? "\\x" + (scalar.value < 16 ? "0" : "") + String(scalar.value, radix: 16)
                    : "\\u{" + String(scalar.value, radix: 16) + "}"
                : String(scalar)
        }.joined()
        return line.count > longestLine ? text + "…" : text
    }

    public var description: String { lines.joined(separator: "\n") }

    /// Says it on standard error, in the form that editors jump to, and ends the process.
    public func printAndExit() -> Never {
        for line in lines { StandardError.write(line) }
        exit(Failure.Code.config.rawValue)
    }
}

extension Unicode.Scalar {
    /// Control characters (ISO 6429, C0 and C1) and what turns the direction of text (UAX 9).
    var steersTerminals: Bool {
        value < 32 || (127..<160).contains(value) || (0x202A...0x202E).contains(value)
            || (0x2066...0x2069).contains(value)
    }
}

/// Collects what is wrong while a file is read, so that one run names every mistake.
final class Problems {
    private let path: String?
    private var found: [(line: Int, text: String)] = []
    private var elsewhere: [String] = []

    /// - Parameter path: of the file; nil for words that stand in none, which have no lines.
    init(path: String?) { self.path = path }

    var isEmpty: Bool { found.isEmpty && elsewhere.isEmpty }

    func note(line: Int, _ text: String) { found.append((line, text)) }

    /// Something in another file, which the line names itself.
    func note(elsewhere text: String) { elsewhere.append(text) }

    /// Begins a line about a place in the file.
    func place(line: Int) -> String { path.map { "\($0):\(line): " } ?? "" }

    var errors: ConfigErrors {
        let sorted = found.enumerated().sorted {
            ($0.element.line, $0.offset) < ($1.element.line, $1.offset)
        }
        return ConfigErrors(
            sorted.map { problem in
                place(line: problem.element.line) + problem.element.text
            } + elsewhere)
    }
}

/// The known word that a misspelt one, or another program's, most likely means.
enum NearMiss {
    /// What iptables, nftables, tcpdump and others call it. Of several meanings the first that is
    /// known where the word stands.
    private static let otherNames: [(names: [String], meanings: [String])] = [
        (["accept", "allow", "pass", "permit", "ok"], ["forward"]),
        (["deny", "block", "discard", "reject"], ["drop"]),
        (["mangle", "rewrite", "substitute"], ["replace"]),
        (["proto", "ip-protocol", "nexthdr"], ["protocol"]),
        (["src", "saddr", "source-address", "src-ip", "from"], ["source"]),
        (["dst", "daddr", "destination-address", "dst-ip", "dest", "to"], ["destination"]),
        (["ip", "host", "addr", "net"], ["address"]),
        (["sport", "src-port"], ["source-port"]),
        (["dport", "dst-port", "dest-port"], ["destination-port"]),
        (["ports"], ["port"]),
        (["flags", "tcpflags"], ["tcp-flags"]),
        (["content", "string", "pattern", "contains"], ["payload", "contains"]),
        (["nocase", "ignorecase", "case-insensitive"], ["ignore-case"]),
        (["state", "ct-state", "conntrack"], ["flow"]),
        (["hop-limit", "hoplimit", "hop"], ["ttl"]),
        (["tos", "traffic-class"], ["dscp"]),
        (["frag", "fragments"], ["fragment"]),
        (["ipv", "ip-version", "family"], ["version"]),
        (["vpce", "vpc-endpoint", "endpoint-id"], ["endpoint"]),
        (["limit", "pps"], ["rate", "packets-per-second"]),
        (["actions", "verdict", "then", "target"], ["action"]),
        (["when", "if", "matches"], ["match"]),
        (["comment"], ["description"]),
        (["default-action"], ["default"]),
        (["ipv6-icmp", "icmp6"], ["icmpv6"]),
    ]

    static func of(_ word: String, in known: [String]) -> String? {
        let plain = word.lowercased().replacing("_", with: "-")
        let meanings =
            [plain] + (otherNames.first { $0.names.contains(plain) }?.meanings ?? [])
        if let meaning = meanings.first(where: { known.contains($0) }) { return meaning }
        let limit = word.count <= 4 ? 1 : 2
        let near = known.map { ($0, distance(Array(word.lowercased()), Array($0))) }
            .filter { $0.1 <= limit }
        return near.min { $0.1 < $1.1 }?.0
    }

    /// Insertions, deletions, substitutions and swaps of neighbours that turn one into the other
    /// (optimal string alignment).
    private static func distance(_ a: [Character], _ b: [Character]) -> Int {
        var rows = [Array(0...b.count)]
        for i in 0..<a.count {
            var row = [i + 1]
            for j in 0..<b.count {
                var cost = min(
                    rows[i][j] + (a[i] == b[j] ? 0 : 1), rows[i][j + 1] + 1, row[j] + 1)
                if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] {
                    cost = min(cost, rows[i - 1][j - 1] + 1)
                }
                row.append(cost)
            }
            rows.append(row)
        }
        return rows[a.count][b.count]
    }
}
