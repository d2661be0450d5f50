import Dataplane
import Wire

/// What rules remember of a flow, for both directions.
public struct RuleFlow: BitwiseCopyable, Sendable {
    /// Packets before this one; wraps.
    var packets: UInt32 = 0
    /// Bit 0: a packet was forwarded from the low end of the flow key to the high one; bit 1: the
    /// other way.
    var forwarded: UInt8 = 0
    var ends = FlowTokens()

    @inline(__always)
    mutating func note(_ verdict: Verdict, _ direction: FlowDirection) {
        packets &+= 1
        if verdict == .forward { forwarded |= direction.bit }
    }

    @inline(__always)
    func isEstablished(_ direction: FlowDirection) -> Bool {
        forwarded & (direction.bit ^ 0b11) != 0
    }
}

/// From the low end of the flow key to the high one, or back.
struct FlowDirection: BitwiseCopyable {
    let bit: UInt8

    @inline(__always)
    init(_ packet: borrowing Packet) {
        // As the key: fragments have no ports.
        let isLow = FlowKey.isLow(
            packet.source, packet.isFragment ? 0 : packet.sourcePort,
            packet.destination, packet.isFragment ? 0 : packet.destinationPort)
        bit = isLow ? 1 : 2
    }
}
