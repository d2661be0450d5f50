/// What the appliance is expected to do with inner packets.
public enum Behaviour: String, CaseIterable, Sendable {
    /// Anything that leaves addresses, protocol and ports alone and right checksums right.
    case any
    /// Send every one back unchanged.
    case reflect
    /// What the blog policy makes of it: see `BlogOracle`.
    case blog
}
