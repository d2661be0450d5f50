/// How much an instance wanted beyond one of its network allowances.
public struct AllowanceReading: Sendable, Equatable {
    public var interface: String
    /// `bw_in`, `bw_out`, `pps`, `conntrack`, `linklocal`.
    public var kind: String
    /// Packets that EC2 queued or dropped since the interface came up.
    public var packets: UInt64
}
