import Foundation
import Testing

/// Arrows go one way: Wire <- PacketIO <- Dataplane <- RuleEngine, and none of them leads to
/// Foundation, to a package or to the control side; there Configuration <- Explain, Appliance.
@Suite("Architecture")
struct ArchitectureTests {
    static let allowed: [(module: String, imports: Set<String>)] = [
        ("Wire", ["CSluice"]),
        ("PacketIO", ["CSluice", "Synchronization", "Wire"]),
        ("Dataplane", ["CSluice", "PacketIO", "Synchronization", "Wire"]),
        // CVectorscan only with the trait of that name.
        (
            "RuleEngine",
            ["CSluice", "CVectorscan", "Dataplane", "PacketIO", "Synchronization", "Wire"]
        ),
        ("Support", ["CSluice", "Foundation", "Glibc", "PacketIO"]),
        ("Capture", ["Glibc", "Wire"]),
        ("Verification", ["Wire"]),
        ("Gateway", ["Verification", "Wire"]),
        (
            "Generator",
            [
                "CSluice", "Capture", "Glibc", "Histogram", "PacketIO", "Support",
                "Synchronization", "Verification", "Wire",
            ]
        ),
        // Text to values: no thread, no socket, no NIO.
        (
            "Configuration",
            [
                "CSluice", "Capture", "Dataplane", "Glibc", "Logging", "PacketIO", "RuleEngine",
                "Support", "Wire", "Yams",
            ]
        ),
        (
            "Explain",
            [
                "Capture", "Configuration", "Dataplane", "Foundation", "PacketIO", "RuleEngine",
                "Support", "Wire",
            ]
        ),
        (
            "Appliance",
            [
                "CSluice", "Configuration", "Dataplane", "Dispatch", "Foundation", "Glibc",
                "Logging", "NIOCore", "NIOHTTP1", "NIOPosix", "PacketIO", "RuleEngine", "Support",
                "Synchronization", "Wire",
            ]
        ),
        ("SluiceCore", ["Dataplane", "PacketIO", "RuleEngine", "Wire"]),
        ("SluiceTesting", ["CSluice", "RuleEngine", "SluiceCore"]),
    ]

    static let sources = URL(filePath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().appending(path: "Sources")

    @Test(arguments: allowed)
    func `modules import each other downwards and nothing else`(
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

    /// The folders of a module, from the lowest up: a file uses no type of a folder above its own.
    /// What lies beside the folders is everyone's.
    static let folders: [(module: String, upwards: [String])] = [
        ("PacketIO", ["Kernel", "Steering", "Rings", "Backends"]),
        ("Generator", ["Traffic", "Verify", "Load", "Search"]),
    ]

    @Test(arguments: folders)
    func `folders use each other downwards`(module: String, upwards: [String]) throws {
        let root = Self.sources.appending(path: module)
        let entries = try FileManager.default.contentsOfDirectory(atPath: root.path())
        #expect(Set(entries.filter { !$0.hasSuffix(".swift") }) == Set(upwards))
        var below: [(file: String, words: Set<String>)] = []
        for folder in upwards {
            let files = try Self.files(of: root.appending(path: folder))
            let types = Set(files.flatMap { Self.types(in: $0.text) })
            #expect(!types.isEmpty)
            for lower in below {
                let strangers = lower.words.intersection(types)
                #expect(strangers.isEmpty, "\(lower.file) uses \(strangers) of \(folder)")
            }
            below += files.map { ($0.file, Set(Self.words(of: $0.text))) }
        }
    }

    private static func files(of folder: URL) throws -> [(file: String, text: String)] {
        try FileManager.default.contentsOfDirectory(atPath: folder.path()).map {
            ($0, try String(contentsOf: folder.appending(path: $0), encoding: .utf8))
        }
    }

    /// The words of the code, without comments and string literals of one line.
    static func words(of text: String) -> [String] {
        text.split(separator: "\n").flatMap { line in
            let pieces = line.split(separator: "\"", omittingEmptySubsequences: false)
            let outside = pieces.indices.filter { $0 % 2 == 0 }.map { pieces[$0] }
            let code = outside.joined(separator: " ").split(separator: "//", maxSplits: 1)
            guard !line.drop(while: { $0 == " " }).hasPrefix("//") else { return [String]() }
            return (code.first ?? "").split { !($0.isLetter || $0.isNumber || $0 == "_") }
                .map(String.init)
        }
    }

    /// The types declared at a file's top level.
    static func types(in text: String) -> [String] {
        let kinds: Set = ["struct", "class", "enum", "protocol", "typealias"]
        return text.split(separator: "\n").compactMap { line in
            guard !line.hasPrefix(" "), !line.hasPrefix("/"), !line.hasPrefix("private") else {
                return nil
            }
            let words = words(of: String(line))
            guard let kind = words.firstIndex(where: kinds.contains), kind + 1 < words.count else {
                return nil
            }
            return words[kind + 1]
        }
    }

    @Test func `types and words are seen`() {
        let text = """
            public final class A: B {
                struct Inner {}
            // struct C
            @unsafe struct D<E> {}
            private enum F {}
            let text = "enum G"  // H
            """
        #expect(Self.types(in: text) == ["A", "D"])
        #expect(Set(Self.words(of: text)).isDisjoint(with: ["C", "G", "H"]))
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
