import SluiceTesting
import Testing
import Wire

@testable import Dataplane
@testable import RuleEngine

/// Random strings and payloads in which they stand often: of few different bytes, cut out of one
/// another, one the beginning or the end of the other.
private struct RandomStrings {
    var generator: SeededGenerator
    let alphabet: [UInt8]

    mutating func bytes(_ lengths: ClosedRange<Int>) -> [UInt8] {
        (0..<Int.random(in: lengths, using: &generator)).map { _ in
            alphabet.randomElement(using: &generator)!
        }
    }

    /// A new string, or some of the ones before.
    mutating func string(like others: [[UInt8]], _ lengths: ClosedRange<Int>) -> [UInt8] {
        guard let other = others.randomElement(using: &generator), Bool.random(using: &generator)
        else { return bytes(lengths) }
        let from = Int.random(in: 0..<other.count, using: &generator)
        let part = Array(other[from...].prefix(Int.random(in: 1...other.count, using: &generator)))
        return Bool.random(using: &generator) ? part : part + bytes(1...2)
    }

    /// Pieces of strings and other bytes.
    mutating func payload(of strings: [[UInt8]], longest: Int) -> [UInt8] {
        let count = Int.random(in: 0...longest, using: &generator)
        var payload: [UInt8] = []
        while payload.count < count {
            let string = strings.randomElement(using: &generator)!
            switch Int.random(in: 0..<4, using: &generator) {
            case 0: payload += string
            case 1: payload += string.prefix(Int.random(in: 1...string.count, using: &generator))
            case 2: payload += swapped(string)
            default: payload += bytes(1...3)
            }
        }
        return Array(payload.prefix(count))
    }

    /// Letters in the other case, here and there.
    mutating func swapped(_ bytes: [UInt8]) -> [UInt8] {
        bytes.map { byte in
            let isLetter = byte | 0x20 >= 97 && byte | 0x20 <= 122
            return isLetter && Bool.random(using: &generator) ? byte ^ 0x20 : byte
        }
    }
}

@Suite("Payload strings")
struct PayloadTests {
    static let alphabets: [[UInt8]] = [
        bytes("a"), bytes("ab"), bytes("aAbB"), [0, 1, 255],
        bytes("abcdefghijklmnopqrstuvwxyzABZ@[`{"), Array(0...255),
    ]

    /// Each rule asks for some strings, so that hits show which were found.
    static func asking(_ payloads: [Match.Payload]) -> Policy {
        var result = Policy()
        result.rules = payloads.enumerated().map { i, payload in
            rule("\(i)", nil) { $0.payload = payload }
        }
        return result
    }

    /// Plays the payloads, and compares each rule's hits with a search byte by byte.
    static func check(_ payloads: [Match.Payload], _ texts: [[UInt8]]) throws -> Int {
        var bench = try RuleBench(asking(payloads))
        var found = 0
        for text in texts {
            let before = payloads.indices.map { bench.snapshot.hits(rule: $0) }
            let packet = PacketBuilder(PacketBuilder.udp4(1, 2, text))
            #expect(bench.outcome(of: packet.bytes()).isUntouched(packet))
            for (i, payload) in payloads.enumerated() {
                let isHit = bench.snapshot.hits(rule: i) > before[i]
                let isThere = payload.strings.contains {
                    NaiveRules.stands($0, in: text, payload.ignoresCase)
                }
                #expect(isHit == isThere, "\(payload) in \(text)")
                if isThere { found += 1 }
            }
        }
        return found
    }

    /// Up to eight strings are searched one by one, more by the automaton, and long ones always.
    @Test(arguments: alphabets.indices, [1, 2, 4, 5, 30])
    func `every string is found, and none that is not there`(alphabet: Int, count: Int) throws {
        var random = RandomStrings(
            generator: SeededGenerator(seed: UInt64(alphabet * 100 + count)),
            alphabet: PayloadTests.alphabets[alphabet])
        var found = 0
        for round in 0..<5 {
            let longest = [1, 3, 8, 40, 100][round]
            var strings: [[UInt8]] = []
            let payloads = (0..<count).map { _ in
                let list = (0..<Int.random(in: 1...2, using: &random.generator)).map { _ in
                    random.string(like: strings, min(longest, 1 + round % 4)...longest)
                }
                strings += list
                let ignores = Int.random(in: 0..<3, using: &random.generator) == 0
                return Match.Payload(list, ignoresCase: ignores)
            }
            let texts = (0..<12).map { random.payload(of: strings, longest: $0 * 10) }
            found += try PayloadTests.check(payloads, texts)
        }
        #expect(found > 10)
    }

    @Test func `five thousand strings are all found`() throws {
        var random = RandomStrings(
            generator: SeededGenerator(seed: 5), alphabet: bytes("abcdeABC\u{0}\u{7F}"))
        var strings: [[UInt8]] = []
        while strings.count < 5000 { strings.append(random.string(like: strings, 2...30)) }
        // Some strings in several rules, some rules with many strings.
        let payloads = (0..<500).map { i in
            Match.Payload(
                (0..<12).map { strings[(i * 10 + $0) % 5000] }, ignoresCase: i % 3 == 0)
        }
        let texts = (0..<2).map { random.payload(of: strings, longest: 100 + $0 * 100) }
        #expect(try PayloadTests.check(payloads, texts + [[]]) > 100)
        // Each by itself, as a whole payload.
        let table = try FoundStrings(strings.map { Match.Payload([$0]) })
        for (i, string) in strings.enumerated() {
            #expect(table.selects(i, in: string))
        }
    }

    @Test func `strings that end in one another are all found, once`() throws {
        let strings = (1...200).map { [UInt8](repeating: 97, count: $0) }
        let table = try FoundStrings(strings.map { Match.Payload([$0]) })
        #expect(table.rules(in: [UInt8](repeating: 97, count: 150)) == Array(0..<150))
        #expect(table.rules(in: []) == [])
        // Nothing is left from packet to packet.
        #expect(table.rules(in: [97]) == [0])
    }

    @Test func `the payload is not searched when an earlier rule decided`() throws {
        let strings = (0..<20).map { bytes("string \($0)") }
        var bench = try RuleBench(
            policy(
                rule("first", .drop) { $0.ports = [1...1] },
                rule("found", .drop) { $0.payload = Match.Payload(strings) }))
        let packet = PacketBuilder(PacketBuilder.udp4(1, 2, strings[3])).bytes()
        #expect(bench.outcome(of: packet) == .dropped(.rule))
        #expect((0..<2).map { bench.snapshot.hits(rule: $0) } == [1, 0])
    }

    @Test func `more strings than there is room for are refused in words`() {
        let string = [UInt8](repeating: 1, count: 1024)
        let many = Match.Payload([[UInt8]](repeating: string, count: 4097))
        #expect(
            PayloadTests.asking([many]).excess
                == "payload strings of 4195328 bytes in all, but 4194304 are the most")
        let short = Match.Payload([[UInt8]](repeating: [1], count: 1 << 18))
        #expect(PayloadTests.asking([short]).excess == nil)
        #expect(
            PayloadTests.asking([short, Match.Payload([[2]])]).excess
                == "262145 payload strings, but 262144 are the most")
    }
}

/// The table of some rules by itself: which rules a payload selects.
private final class FoundStrings {
    private let memory = TableMemory()
    private let table: PayloadTable
    private var found: PayloadFindings
    private let count: Int

    init(_ payloads: [Match.Payload]) throws {
        table = PayloadTable(payloads, askingRow: 0, otherRow: 0, workers: 1, memory)
        found = try PayloadFindings()
        count = payloads.count
    }

    func rules(in payload: [UInt8]) -> [Int] {
        scan(payload)
        defer { found.clear() }
        return (0..<count).filter { isSelected($0) }
    }

    func selects(_ rule: Int, in payload: [UInt8]) -> Bool {
        scan(payload)
        defer { found.clear() }
        return isSelected(rule)
    }

    private func scan(_ payload: [UInt8]) {
        var payload = payload
        withPacketView(&payload) { table.scan($0, from: 0, to: $0.count, worker: 0, &found) }
    }

    private func isSelected(_ rule: Int) -> Bool {
        found.rules[rule >> 6] >> UInt64(rule & 63) & 1 == 1
    }
}
