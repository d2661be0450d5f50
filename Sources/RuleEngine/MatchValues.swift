import Dataplane

// What conditions hold, where a number or a list is not enough.
extension Match {
    /// Established: a packet of this flow was forwarded in the other direction. New: none yet.
    public enum Flow: UInt8, Equatable, BitwiseCopyable, Sendable { case new, established }

    /// Flags that must be set and flags that must not (RFC 9293 §3.1, CWR to FIN).
    public struct TCPFlags: Equatable, BitwiseCopyable, Sendable {
        public var set: UInt8 = 0
        public var clear: UInt8 = 0
        public init(set: UInt8 = 0, clear: UInt8 = 0) {
            self.set = set
            self.clear = clear
        }
    }

    /// ICMP of an IPv4 packet or ICMPv6 of an IPv6 packet.
    public struct ICMP: Equatable, BitwiseCopyable, Sendable {
        public var types: ByteSet?
        public var codes: ByteSet?
        /// Echo messages whose sequence number is a multiple of this.
        public var sequenceEvery: UInt16?
        public init() {}
    }

    /// Bytes of a UDP or TCP payload.
    public struct Payload: Equatable, Sendable {
        public var strings: [[UInt8]]
        /// ASCII letters only.
        public var ignoresCase: Bool
        public init(_ strings: [[UInt8]], ignoresCase: Bool = false) {
            self.strings = strings
            self.ignoresCase = ignoresCase
        }
    }

    public enum Fragment: Equatable, Sendable { case first, later, any, none }
}
