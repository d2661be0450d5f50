import Dataplane

extension Match {
    /// A number of packets per second, and one of packets at once after a pause: in any T seconds
    /// at most `burst` + `packetsPerSecond` × T packets do not exceed it, on all workers together.
    public struct Rate: Equatable, BitwiseCopyable, Sendable {
        /// 1 to 100 million.
        public var packetsPerSecond: UInt32
        /// 1 to 100 million.
        public var burst: UInt32
        public var per: Per

        /// What has a limit of its own: a flow with both its directions, an inner source address
        /// behind an endpoint, an endpoint, or nothing.
        public enum Per: UInt8, Equatable, BitwiseCopyable, Sendable {
            case flow, source, endpoint, all
        }

        public static let highest: UInt32 = 100_000_000

        /// - Parameter burst: by default what comes in a tenth of a second, so that no second has
        ///   more than 1.1 × the rate.
        public init(packetsPerSecond: UInt32, burst: UInt32? = nil, per: Per = .all) {
            self.packetsPerSecond = min(Rate.highest, max(1, packetsPerSecond))
            self.burst = min(Rate.highest, max(1, burst ?? packetsPerSecond / 10))
            self.per = per
        }
    }
}
