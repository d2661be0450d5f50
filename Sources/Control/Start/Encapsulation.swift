/// What GWLB puts around an inner packet.
enum Encapsulation {
    /// Outer IPv4 20, UDP 8, Geneve 8, options 32 bytes.
    static let overhead = 68
}
