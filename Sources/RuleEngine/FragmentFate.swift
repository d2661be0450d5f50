import Dataplane
import Wire

/// What is known of a packet that comes in fragments: how its first fragment fared, and which of
/// its bytes that one showed to the rules.
///
/// Rules see ports, flags and payload of the first fragment alone, so nothing that comes before or
/// after it may say otherwise about the same bytes: a later fragment that overlaps the first ends
/// the packet (RFC 1858 §4, RFC 3128; for IPv6 RFC 5722 §3 asks for it). Later fragments among
/// themselves are the receiver's matter: no rule has seen them.
@usableFromInline
struct FragmentFate: BitwiseCopyable {
    enum Verdict: UInt8, BitwiseCopyable { case unknown, forwarded, dropped }

    private(set) var verdict = Verdict.unknown
    /// Where the first fragment ends, bytes from its start.
    private var firstEnd: UInt16 = 0
    /// The lowest offset of those that came before it.
    private var lowestLater = UInt16.max
    /// Bytes of the later fragments that came since the first.
    private var laterBytes: UInt32 = 0

    /// A first fragment, or one more. Of two the last counts: each was judged for itself, and a
    /// receiver takes one of them.
    ///
    /// - Returns: false when it must not be forwarded.
    mutating func noteFirst(end: Int, isForwarded: Bool) -> Bool {
        let overlaps = Int(lowestLater) < end
        verdict = isForwarded && !overlaps ? .forwarded : .dropped
        firstEnd = UInt16(truncatingIfNeeded: min(end, 0xFFFF))
        laterBytes = 0
        return verdict == .forwarded
    }

    /// A later fragment, which ends the packet when it overlaps the first, or when more came than a
    /// packet can have (RFC 791 §3.1): else one first fragment would let any number pass.
    mutating func noteLater(offset: Int, count: Int) -> Verdict {
        laterBytes &+= UInt32(truncatingIfNeeded: max(0, count))
        switch verdict {
        case .unknown: lowestLater = min(lowestLater, UInt16(truncatingIfNeeded: offset))
        case .forwarded where offset < Int(firstEnd) || laterBytes > 0xFFFF: verdict = .dropped
        case .forwarded, .dropped: break
        }
        return verdict
    }
}

/// Where a fragment stands in its packet.
struct FragmentPosition: BitwiseCopyable {
    /// 16 bits of the IPv4 header (RFC 791 §3.1), or 32 of the IPv6 fragment header (RFC 8200 §4.5).
    var identification: UInt32 = 0
    /// Bytes from the start of the part that is cut into fragments.
    var offset = 0
    var end = 0
}

extension Packet {
    /// - Precondition: it is a fragment.
    var fragmentPosition: FragmentPosition {
        var position = FragmentPosition()
        guard layout.version == 6 else {
            position.identification = UInt32(view.u16(layout.inner &+ 4))
            position.offset = Int(view.u16(layout.inner &+ 6) & 0x1FFF) &* 8
            let header = Int(view.u8(layout.inner) & 0x0F) &* 4
            position.end = position.offset &+ layout.innerEnd &- layout.inner &- header
            return position
        }
        // The parser has walked this chain: every header lies within the packet.
        var next = view.u8(layout.inner &+ 6)
        var at = layout.inner &+ IPv6Header.length
        while IPv6ExtensionWalk.isExtension(next), at &+ 8 <= layout.innerEnd {
            let field = next == 44 ? view.u16(at &+ 2) : 0
            if field & 0xFFF9 != 0 {
                position.identification = view.u32(at &+ 4)
                position.offset = Int(field & 0xFFF8)
                position.end = position.offset &+ layout.innerEnd &- at &- 8
                return position
            }
            let length = next == 44 ? 8 : (Int(view.u8(at &+ 1)) &+ 1) &* 8
            next = view.u8(at)
            at &+= length
        }
        return position
    }

    /// A fragment that hides from the rules what they would look at: a first one too short for the
    /// transport header (RFC 1858 §3, RFC 7112 §5), or a later one that starts within that header.
    var hidesItsHeader: Bool {
        let needed: Int
        switch layout.isLaterFragment ? layout.flowProtocol : layout.protocolNumber {
        case IPProtocol.tcp: needed = TCPHeader.minimumLength
        case IPProtocol.udp, IPProtocol.icmp, IPProtocol.icmpv6: needed = UDPHeader.length
        default: return false
        }
        guard layout.isLaterFragment else { return layout.innerEnd &- layout.transport < needed }
        return fragmentPosition.offset < needed
    }
}
