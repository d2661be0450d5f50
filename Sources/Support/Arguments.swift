import CSluice

/// What the program was called with.
public enum Arguments {
    /// Without the program's name.
    public static var given: [String] { Array(all.dropFirst()) }

    /// The program's own name, without its folder.
    public static var program: String? { all.first?.split(separator: "/").last.map(String.init) }

    private static var all: [String] {
        var all: [String] = []
        // Sound: each argument is a C string for as long as the process lives.
        while let text = unsafe sluice_argument(Int32(all.count)) {
            all.append(unsafe String(cString: text))
        }
        return all
    }
}
