import CSluice

/// An interface that merges packets of one UDP flow before anybody sees them (GRO by forwarding or by
/// list): who takes whole frames gets one of many packets, and loses the rest. A UDP socket gets
/// them one by one.
public struct MergedPackets: Equatable, Sendable {
    public let interface: String
    /// As `ethtool -K` names them.
    public let features: [String]

    /// Nil when the interface does not merge, is not there, or is none that the kernel can tell of.
    public init?(interface: String) {
        self.interface = interface
        let names = ["rx-udp-gro-forwarding", "rx-gro-list"]
        // Sound: the names are C strings for the call.
        features = names.filter { unsafe sluice_interface_has_feature(interface, $0) > 0 }
        // Both are parts of GRO, which may be off as a whole.
        guard !features.isEmpty, unsafe sluice_interface_has_feature(interface, "rx-gro") > 0 else {
            return nil
        }
    }

    /// The command that ends it.
    public var remedy: String {
        "ethtool -K \(interface) " + features.map { "\($0) off" }.joined(separator: " ")
    }
}
