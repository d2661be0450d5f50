import CSluice

/// Descriptors 0, 1 and 2.
public enum StandardDescriptors {
    /// Opens those that are closed, so that no socket takes their place.
    public static func hold() { sluice_hold_standard_descriptors() }
}
