import Dataplane
import Foundation
import SluiceTesting
import Testing

/// Packets that scapy, which shares no code and no author with us, has built and judged
/// (Tests/Judge/make_packets.py): ours must come to the same verdict and the same bytes.
@Suite("The outside judge")
struct JudgeTests {
    /// One packet and what should become of it.
    struct Judgement: Decodable {
        let name: String
        /// Hex, from the outer IPv4 header on.
        let input: String
        /// "forward" or "drop".
        let verdict: String
        /// The label of the drop reason.
        let reason: String?
        /// Hex, when forwarded.
        let output: String?
    }

    static let file = ProcessInfo.processInfo.environment["SLUICE_JUDGE"]

    // tools/test makes the file; a plain `swift test` has none.
    @Test(
        .enabled(if: file != nil, "SLUICE_JUDGE names no file of judgements: tools/test makes it"))
    func `every packet is treated as the judge says`() throws {
        let data = try Data(contentsOf: URL(filePath: try #require(Self.file)))
        let judgements = try JSONDecoder().decode([Judgement].self, from: data)
        #expect(judgements.count >= 500)
        var bench = try Bench(io: MemoryIO(recordingSize: 0))
        for judgement in judgements {
            let input = try #require(Self.bytes(judgement.input), "\(judgement.name)")
            let outcome = bench.outcome(of: input)
            #expect(outcome != nil && outcome == Self.expected(judgement), "\(judgement.name)")
        }
        #expect(Set(judgements.map(\.verdict)) == ["forward", "drop"])
    }

    private static func expected(_ judgement: Judgement) -> Outcome? {
        if judgement.verdict == "forward" {
            return judgement.output.flatMap { bytes($0) }.map { .forwarded($0) }
        }
        return DropReason.allCases.first { $0.label == judgement.reason }.map { .dropped($0) }
    }

    /// Nil unless pairs of hex digits.
    private static func bytes(_ hex: String) -> [UInt8]? {
        guard hex.count % 2 == 0 else { return nil }
        let digits = Array(hex)
        let bytes = stride(from: 0, to: digits.count, by: 2).compactMap {
            UInt8(String(digits[$0...$0 + 1]), radix: 16)
        }
        return bytes.count * 2 == digits.count ? bytes : nil
    }
}
