import Dataplane
import Foundation
import Testing

/// The handbook for operators says what the product says.
@Suite("Day two")
struct DayTwoTests {
    /// Reason, meaning and advice of each row, without back quotes.
    private static func rows() throws -> [[String]] {
        let text = try String(
            contentsOf: DocumentationTests.sources.appending(path: "../deploy/DAY-TWO.md"),
            encoding: .utf8)
        let section = try #require(text.components(separatedBy: "### By drop reason\n").last)
            .components(separatedBy: "\n### ")[0]
        return section.split(separator: "\n").filter { $0.hasPrefix("| `") }.map { row in
            row.filter { $0 != "`" }.split(separator: "|").map {
                $0.trimmingCharacters(in: .whitespaces)
            }
        }
    }

    @Test func `its table of drop reasons says what each reason says of itself`() throws {
        let rows = try Self.rows()
        #expect(rows.map { $0[0] }.sorted() == DropReason.allCases.map(\.label).sorted())
        for reason in DropReason.allCases {
            let row = try #require(rows.first { $0[0] == reason.label })
            #expect(row[1] == reason.meaning)
            // An alert's name may follow: what to do then is a section of its own.
            #expect(row[2] == reason.advice || row[2].hasPrefix("\(reason.advice): Sluice"))
        }
    }
}
