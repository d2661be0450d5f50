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

    /// Fragments share one flow for all ports, so one of them says nothing about another.
    func state(of packet: borrowing Packet, _ direction: FlowDirection) -> Match.Flow {
        if packet.quotesLiveFlow { return .related }
        let isAnswered = forwarded & (direction.bit ^ 0b11) != 0
        return isAnswered && !packet.layout.isKeyedAsFragment && packet.mayAnswer
            ? .established : .new
    }
}

/// From the low end of the flow key to the high one, or back.
struct FlowDirection: BitwiseCopyable {
    let bit: UInt8

    @inline(__always)
    init(_ packet: borrowing Packet) {
        self.init(isLow: packet.layout.isLow)
    }

    @inline(__always)
    init(isLow: Bool) { bit = isLow ? 1 : 2 }
}

extension Packet {
    /// Of ICMP only a reply answers: a request, a redirect or an error does not belong to what came
    /// before it (RFC 792; RFC 4443 §4).
    fileprivate var mayAnswer: Bool {
        guard protocolNumber == (version == 4 ? IPProtocol.icmp : IPProtocol.icmpv6) else {
            return true
        }
        switch (version, icmp?.type) {
        case (4, 0), (4, 14), (4, 16), (4, 18), (6, 129), (6, 140): return true
        default: return false
        }
    }
}
