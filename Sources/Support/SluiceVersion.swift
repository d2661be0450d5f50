/// The version of this build, of all its programs.
public enum SluiceVersion {
    public static let text = "0.1.0"

    /// The compiler's language version.
    public static let swift: String = {
        #if swift(>=6.4)
            "6.4"
        #elseif swift(>=6.3)
            "6.3"
        #else
            "6.2"
        #endif
    }()
}
