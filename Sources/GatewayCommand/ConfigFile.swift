import Support
import Yams

/// The YAML file: one mapping, with the flags' names as keys. Strict: an unknown key, a list
/// where one value is wanted or a wrong value is an error with file and line.
enum ConfigFile {
    static func read(_ path: String) throws(Failure) -> RawOptions {
        try parse(try text(of: path), path: path)
    }

    static func parse(_ text: String, path: String) throws(Failure) -> RawOptions {
        let root: Node?
        do {
            root = try Yams.compose(yaml: text)
        } catch {
            throw Failure(.config, "\(path): no YAML: \(oneLine("\(error)"))")
        }
        guard let mapping = root?.mapping else {
            throw Failure(
                .config, "\(path): expected keys and values, like \"a: tun0\"")
        }
        var options = RawOptions(.config)
        for (key, node) in mapping {
            guard let name = key.string, RawOptions.names.contains(name) else {
                throw Failure(
                    .config,
                    "\(place(path, key)): unknown key \"\(key.string ?? "?")\", expected one of "
                        + RawOptions.names.joined(separator: ", "))
            }
            options.set(name, try texts(name, node, path), at: "\(place(path, key)): \(name)")
        }
        return options
    }

    private static func texts(
        _ name: String, _ node: Node, _ path: String
    ) throws(Failure) -> [String] {
        if let text = scalar(node) { return [text] }
        guard RawOptions.lists.contains(name), let sequence = node.sequence else {
            throw Failure(
                .config,
                "\(place(path, node)): \(name): expected "
                    + (RawOptions.lists.contains(name) ? "a value or a list" : "one value"))
        }
        var texts: [String] = []
        for item in sequence {
            guard let text = scalar(item) else {
                throw Failure(.config, "\(place(path, item)): \(name): expected a value")
            }
            texts.append(text)
        }
        return texts
    }

    private static func scalar(_ node: Node) -> String? {
        guard case .scalar(let scalar) = node, node.null == nil else { return nil }
        return scalar.string
    }

    private static func place(_ path: String, _ node: Node) -> String {
        node.mark.map { "\(path):\($0.line)" } ?? path
    }

    private static func oneLine(_ text: String) -> String {
        text.split(separator: "\n").map { $0.trimmingSpaces() }.joined(separator: " ")
    }

    private static func text(of path: String) throws(Failure) -> String {
        do {
            return try Files.text(of: path, limit: 1 << 20)
        } catch {
            throw Failure(.config, "\(error)")
        }
    }
}

extension Substring {
    fileprivate func trimmingSpaces() -> Substring {
        drop { $0 == " " }
    }
}
