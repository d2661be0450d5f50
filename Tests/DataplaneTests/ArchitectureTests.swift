import Foundation
import Testing

/// Arrows go one way: Wire <- PacketIO <- Dataplane, and none of them leads to Foundation, to a
/// package or to the control side.
@Suite("Architecture")
struct ArchitectureTests {
    static let allowed: [(module: String, imports: Set<String>)] = [
        ("Wire", ["CSluice"]),
        ("PacketIO", ["CSluice", "Synchronization", "Wire"]),
        // CVectorscan only with the trait of that name.
        ("Dataplane", ["CSluice", "CVectorscan", "PacketIO", "Synchronization", "Wire"]),
        ("Capture", ["Glibc", "Wire"]),
        ("SluiceCore", ["Dataplane", "PacketIO", "Wire"]),
        ("SluiceTesting", ["CSluice", "SluiceCore"]),
    ]

    static let sources = URL(filePath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().appending(path: "Sources")

    @Test(arguments: allowed)
    func `hot modules import each other downwards and nothing else`(
        module: String, imports: Set<String>
    ) throws {
        let folder = Self.sources.appending(path: module).resolvingSymlinksInPath()
        let files = try FileManager.default.subpathsOfDirectory(atPath: folder.path())
            .filter { $0.hasSuffix(".swift") }
        #expect(!files.isEmpty)
        for file in files {
            let text = try String(contentsOf: folder.appending(path: file), encoding: .utf8)
            let strangers = Self.imports(of: text).subtracting(imports)
            #expect(strangers.isEmpty, "\(module)/\(file) imports \(strangers)")
        }
    }

    /// The modules that a source file imports, whatever stands around `import`.
    static func imports(of text: String) -> Set<String> {
        let before: Set = ["public", "internal", "package", "private", "fileprivate"]
        let kinds: Set = ["struct", "class", "enum", "protocol", "func", "var", "let", "typealias"]
        return Set(
            text.split(separator: "\n").compactMap { line in
                var words = line.split(separator: " ").map(String.init)[...]
                words = words.drop { $0.hasPrefix("@") || before.contains($0) }
                guard words.popFirst() == "import" else { return nil }
                let name = words.drop { kinds.contains($0) }.first
                return name?.split(separator: ".").first.map(String.init)
            })
    }

    @Test func `imports are seen however they are written`() {
        let text = """
            import Foundation
            @_exported import A
              @testable public import B
            @_spi(Testing) import C
            private import struct D.E
            // import F
            let important = "import G"
            """
        #expect(Self.imports(of: text) == ["Foundation", "A", "B", "C", "D"])
    }
}
