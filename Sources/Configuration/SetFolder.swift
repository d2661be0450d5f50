import RuleEngine

/// Where `@file` names are looked up while one config file is read. However many rules name a file,
/// it is read once, and all of them share what is in it.
final class SetFolder {
    /// With its slash; empty for the folder of the process.
    private let path: String
    private var sets: [String: Result<[AddressRange], ConfigErrors>] = [:]

    init(of file: String) { path = file.lastIndex(of: "/").map { String(file[...$0]) } ?? "" }

    /// The paths of all files that were read.
    var files: [String] { sets.keys.sorted() }

    func read(_ name: String) throws(ConfigErrors) -> [AddressRange] {
        let file = name.hasPrefix("/") ? name : path + name
        if let known = sets[file] { return try known.get() }
        let result = Result { () throws(ConfigErrors) in try PrefixFile.read(file) }
        sets[file] = result
        return try result.get()
    }
}
