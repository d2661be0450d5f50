import Dataplane

// What conditions hold, where a number or a list is not enough.
extension Match {
    /// What a packet is to its flow, one of these; a condition may name several.
    public struct Flow: OptionSet, BitwiseCopyable, Sendable {
        public let rawValue: UInt8
        public init(rawValue: UInt8) { self.rawValue = rawValue }

        /// A packet of this flow was forwarded in the other direction. Of ICMP only replies are.
        public static let established = Flow(rawValue: 1)
        /// An ICMP error that quotes a packet of a live flow, one that was forwarded.
        public static let related = Flow(rawValue: 2)
        /// Neither.
        public static let new = Flow(rawValue: 4)
        public static let all: Flow = [.established, .related, .new]
    }

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
