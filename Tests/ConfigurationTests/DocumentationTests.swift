import Foundation
import Support
import Testing

/// The article on processors is true: its code stands in the examples, which are built and run.
@Suite("Documentation")
struct DocumentationTests {
    static let sources = URL(filePath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().appending(path: "Sources")

    static func text(_ path: String) throws -> String {
        try String(contentsOf: sources.appending(path: path), encoding: .utf8)
    }

    @Test func `every piece of code in the article is in an example, word for word`() throws {
        let article = try Self.text("Sluice/Sluice.docc/WriteYourOwnProcessor.md")
        let examples = try [
            "EgressLogger/Package.swift", "SizeHistogram/Package.swift",
            "EgressLogger/Sources/EgressLogger/main.swift",
            "EgressLogger/Sources/EgressLogger/EgressLogger.swift",
            "SizeHistogram/Sources/SizeHistogram/main.swift",
            "SizeHistogram/Sources/SizeHistogram/SizeHistogram.swift",
            "DNSLifetime/Sources/DNSLifetime/DNSLifetime.swift",
            "DNSLifetime/Tests/DNSLifetimeTests/DNSLifetimeTests.swift",
        ].map { try Self.text("Examples/\($0)") }
        let parts = article.components(separatedBy: "```")
        let blocks = parts.indices.filter { $0 % 2 == 1 }.map { parts[$0] }
        #expect(blocks.count >= 8)
        for block in blocks {
            #expect(block.hasPrefix("swift\n"))
            let code = String(block.dropFirst("swift\n".count))
            #expect(examples.contains { $0.contains(code) }, "\(code)")
        }
    }
}
