import RuleEngine

/// Where `@file` names are looked up while one config file is read. However many rules name a file,
/// it is read once, and all of them share what is in it.
final class SetFolder {
    /// With its slash; empty for the folder of the process.
    private let path: String
    private var sets: [String: Result<[AddressRange], Problem>] = [:]

    enum Problem: Error {
        case unreadable(ConfigErrors)
        /// What the file says is wrong, line by line.
        case wrong(ConfigErrors)
    }

    init(of file: String) { path = file.lastIndex(of: "/").map { String(file[...$0]) } ?? "" }

    /// The paths of all files that were read.
    var files: [String] { sets.keys.sorted() }

    func read(_ name: String) -> Result<[AddressRange], Problem> {
        let file = name.hasPrefix("/") ? name : path + name
        if let known = sets[file] { return known }
        let result = SetFolder.read(file)
        sets[file] = result
        return result
    }

    private static func read(_ file: String) -> Result<[AddressRange], Problem> {
        Result { () throws(ConfigErrors) in
            try FileBytes.readText(file, limit: PrefixFile.limit)
        }.mapError { .unreadable($0) }.flatMap { text in
            Result { () throws(ConfigErrors) in try PrefixFile.parse(text, file) }
                .mapError { .wrong($0) }
        }
    }
}
