import Wire

/// The built-in policy: what the blog post's appliance does, for IPv4 and IPv6.
///
/// 1. UDP from or to port 3000 with `drop me` in its payload is dropped;
/// 2. on the same ports every `weakly typed` becomes `strongly typed`;
/// 3. ICMPv4 echo requests and replies whose sequence number is a multiple of 5 are dropped;
/// 4. everything else is forwarded unchanged.
public struct BlogPolicy: PacketProcessor {
    public static let ruleNames = ["drop-me", "strongly-typed", "every-fifth-ping"]

    @inlinable static var chatPort: UInt16 { 3000 }
    @usableFromInline let dropMe = Needle("drop me")
    @usableFromInline let weaklyTyped = Needle("weakly typed")
    @usableFromInline let stronglyTyped = Needle("strongly typed")

    public init(configuration: NoConfiguration, worker: Int) {}

    @inlinable @inline(__always)
    public mutating func process(
        _ packet: inout Packet, flow: inout NoFlowState, context: inout Context
    ) -> Verdict {
        switch packet.protocolNumber {
        case IPProtocol.udp where packet.uses(port: BlogPolicy.chatPort):
            return chat(&packet, &context)
        case IPProtocol.icmp:
            return ping(packet, &context)
        default:
            return .forward
        }
    }

    @inlinable @inline(__always)
    func chat(_ packet: inout Packet, _ context: inout Context) -> Verdict {
        guard let found = packet.firstIndex(of: dropMe, or: weaklyTyped) else { return .forward }
        guard found.isSecond, !packet.contains(dropMe, from: found.index) else {
            context.hit(rule: 0)
            return .drop(.rule)
        }
        switch packet.replaceAll(weaklyTyped, with: stronglyTyped, from: found.index) {
        case .absent:
            return .forward
        case .replaced:
            context.hit(rule: 1)
            return .forward
        case .refused(let reason):
            return .drop(reason)
        }
    }

    /// Only echo messages carry a sequence number (RFC 792): ICMP errors pass.
    @inlinable @inline(__always)
    func ping(_ packet: borrowing Packet, _ context: inout Context) -> Verdict {
        guard let icmp = packet.icmp,
            icmp.type == ICMPHeader.echoRequest || icmp.type == ICMPHeader.echoReply,
            icmp.sequence % 5 == 0
        else { return .forward }
        context.hit(rule: 2)
        return .drop(.rule)
    }
}

/// Forwards everything: the floor that other processors are measured against.
public struct PassThrough: PacketProcessor {
    public init(configuration: NoConfiguration, worker: Int) {}

    @inlinable
    public mutating func process(
        _ packet: inout Packet, flow: inout NoFlowState, context: inout Context
    ) -> Verdict { .forward }
}
