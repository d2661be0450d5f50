import Wire

/// How far a flow is, which decides how long it may be idle.
///
/// TCP by RFC 9293 §3.3.2 as far as one looking on can tell: no sequence numbers are followed, so
/// a packet out of the blue can shorten a life, and the next one keeps the flow alive all the same.
public struct FlowPhase: Equatable, BitwiseCopyable, Sendable {
    /// Index of its idle time: a load, not a choice.
    @usableFromInline let index: UInt8
    @inlinable @inline(__always) init(index: UInt8) { self.index = index }

    /// Of a flow that begins.
    @inlinable @inline(__always) init(_ key: FlowKey) {
        // 6 is TCP. A literal: the compiler's gate refuses globals of other modules.
        index = key.protocolNumber == 6 && key.fragment == 0 ? 1 : 0
    }

    @inlinable @inline(__always)
    public static func == (a: FlowPhase, b: FlowPhase) -> Bool { a.index == b.index }

    /// Not TCP, or fragments.
    @inlinable public static var other: FlowPhase { FlowPhase(index: 0) }
    /// TCP that was answered, or was met in mid-flow.
    @inlinable public static var open: FlowPhase { FlowPhase(index: 1) }
    /// A SYN that the other side has not answered.
    @inlinable public static var opening: FlowPhase { FlowPhase(index: 2) }
    /// One side has sent FIN.
    @inlinable public static var halfClosed: FlowPhase { FlowPhase(index: 3) }
    /// Both sides have, or one has sent RST.
    @inlinable public static var closed: FlowPhase { FlowPhase(index: 4) }
}
