import CSluice

/// Descriptors 0, 1 and 2.
public enum StandardDescriptors {
    /// Opens those that are closed, so that no socket takes their place.
    public static func hold() { sluice_hold_standard_descriptors() }

    /// - Throws: when not all that was printed on standard output was taken.
    public static func flush() throws(Failure) {
        guard sluice_output_is_written() != 0 else {
            throw Failure(.system, "cannot write to standard output: is the disk full?")
        }
    }
}
