import Capture
import Generator
import SluiceTesting
import Testing

@Suite struct PayloadTemplateTests {
    static let all = PayloadTemplate.names.map { PayloadTemplate(name: $0)! } + [.file([1, 2, 3])]

    @Test func `every length is filled, alike for one seed`() {
        for template in Self.all {
            for length in [0, 1, 7, 12, 13, 40, 200, 255, 256, 1400, 8472] {
                for seed in [0, 1, 12345, UInt64.max] {
                    let bytes = template.bytes(length, seed: seed)
                    #expect(bytes.count == length, "\(template.name)")
                    #expect(bytes == template.bytes(length, seed: seed))
                }
            }
            if template != .file([1, 2, 3]) {
                #expect(template.bytes(100, seed: 1) != template.bytes(100, seed: 2))
            }
        }
    }

    static func count(_ word: String, in bytes: [UInt8]) -> Int {
        let word = Array(word.utf8)
        guard bytes.count >= word.count else { return 0 }
        return (0...bytes.count - word.count).count { bytes[$0...].starts(with: word) }
    }

    /// As the blog policy's strings go: only what should hold one holds one, wherever it starts.
    @Test func `strings stand where they should and nowhere else`() {
        for template in Self.all {
            for length in [0, 6, 7, 8, 11, 12, 13, 60, 120] {
                for seed in stride(from: 0 as UInt64, to: 60_000, by: 1999) {
                    let bytes = template.bytes(length, seed: seed)
                    let drop = template == .drop && length >= 7 ? 1 : 0
                    let rewrite = template == .rewrite && length >= 12 ? 1 : 0
                    #expect(Self.count("drop me", in: bytes) == drop)
                    #expect(Self.count("weakly typed", in: bytes) == rewrite)
                }
            }
        }
        #expect(PayloadTemplate.drop.minimumLength == 7)
        #expect(PayloadTemplate.rewrite.minimumLength == 12)
    }

    @Test func `a ClientHello's lengths add up, and it names a server`() {
        let least = PayloadTemplate.tls.minimumLength
        #expect(least < 250)
        for length in [least, least + 4, 512, 1400, 8000] {
            let bytes = PayloadTemplate.tls.bytes(length, seed: 3)
            #expect(bytes[0...2] == [0x16, 3, 1])
            let record = Int(bytes[3]) << 8 | Int(bytes[4])
            let handshake = Int(bytes[6]) << 16 | Int(bytes[7]) << 8 | Int(bytes[8])
            #expect(bytes[5] == 1 && record == handshake + 4)
            #expect(record + 5 == length)
            #expect(Self.count("www.example.com", in: bytes) == 1)
        }
        // Too little for an extension header: application data begins.
        let between = PayloadTemplate.tls.bytes(least + 2, seed: 3)
        #expect(between.suffix(2) == [0x17, 3])
    }

    @Test func `a DNS query's padding fills it`() {
        let least = PayloadTemplate.dns.minimumLength
        for length in [least, least + 1, 512] {
            let bytes = PayloadTemplate.dns.bytes(length, seed: 258)
            #expect(bytes[0..<12] == [1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1])
            #expect(Self.count("example", in: bytes) == 1)
            let padding = length - least
            #expect(
                bytes[least - 4..<least] == [0, 12, UInt8(padding >> 8), UInt8(padding & 0xFF)])
        }
    }

    @Test func `a file's bytes go on and on`() throws {
        #expect(PayloadTemplate.file([1, 2, 3]).bytes(7, seed: 1) == [2, 3, 1, 2, 3, 1, 2])
        #expect(throws: WholeFile.Failure.self) { try PayloadTemplate(file: "/nonexistent") }
        #expect(throws: WholeFile.Failure.self) { try PayloadTemplate(file: "/dev/null") }
        #expect(PayloadTemplate(name: "none") == nil)
    }
}
