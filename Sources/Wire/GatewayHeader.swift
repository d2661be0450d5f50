/// What GWLB writes in front of the inner packets of one flow: everything that is the flow's own.
public struct GatewayHeader: Equatable, Sendable, BitwiseCopyable {
    /// Outer source: the GWLB node, host order.
    public var node: UInt32
    /// Outer destination: the appliance, host order.
    public var target: UInt32
    /// Outer UDP source port, the same in both directions.
    public var sourcePort: UInt16
    /// Option 1.
    public var endpoint: UInt64
    /// Option 2; zero in every capture of the real thing.
    public var attachment: UInt64
    /// Option 3, the same in both directions.
    public var cookie: UInt32
    /// 4 or 6.
    public var innerVersion: UInt8

    public init(
        node: UInt32, target: UInt32, sourcePort: UInt16, endpoint: UInt64,
        attachment: UInt64 = 0, cookie: UInt32, innerVersion: UInt8 = 4
    ) {
        self.node = node
        self.target = target
        self.sourcePort = sourcePort
        self.endpoint = endpoint
        self.attachment = attachment
        self.cookie = cookie
        self.innerVersion = innerVersion
    }
}
