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
    private var hasNext = false
    /// What the fragment that came first names as next header.
    private var next: UInt8 = 0
    /// Where the longest first fragment ends, bytes from its start.
    private var firstEnd: UInt16 = 0
    /// The lowest offset of the later ones.
    private var lowestLater = UInt16.max
    /// Where the last fragment ends; 0 = it has not come.
    private var packetEnd: UInt32 = 0
    /// Bytes of the later fragments.
    private var laterBytes: UInt32 = 0

    /// As many bytes have come as the packet has.
    var isComplete: Bool {
        packetEnd > 0 && firstEnd > 0 && UInt32(firstEnd) &+ laterBytes >= packetEnd
    }

    /// A first fragment, or one more. Each was judged for itself, and a receiver takes one of them;
    /// what any has shown must not be overlapped.
    ///
    /// - Returns: false when it must not be forwarded.
    mutating func noteFirst(_ position: FragmentPosition, isForwarded: Bool) -> Bool {
        if isComplete {
            // Maybe another packet with the same identification. Maybe not, so it overlaps nothing of
            // the one before either.
            packetEnd = 0
            laterBytes = 0
        }
        firstEnd = max(firstEnd, UInt16(truncatingIfNeeded: min(position.end, 0xFFFF)))
        let overlaps = lowestLater < firstEnd
        verdict = isForwarded && !overlaps && agrees(position.next) ? .forwarded : .dropped
        return verdict == .forwarded
    }

    /// A later fragment, which ends the packet when it overlaps the first, or when more came than a
    /// packet can have (RFC 791 §3.1): else one first fragment would let any number pass.
    mutating func noteLater(_ position: FragmentPosition) -> Verdict {
        laterBytes &+= UInt32(truncatingIfNeeded: max(0, position.end &- position.offset))
        if position.isLast { packetEnd = UInt32(truncatingIfNeeded: position.end) }
        lowestLater = min(lowestLater, UInt16(truncatingIfNeeded: position.offset))
        let overlaps = position.offset < Int(firstEnd) || laterBytes > 0xFFFF
        if !agrees(position.next) || verdict == .forwarded && overlaps { verdict = .dropped }
        return verdict
    }

    /// A receiver of IPv6 believes the first fragment alone about what the packet is (RFC 8200 §4.5);
    /// nobody who is honest names anything else in the others.
    private mutating func agrees(_ named: UInt8) -> Bool {
        if !hasNext {
            hasNext = true
            next = named
        }
        return next == named
    }
}

/// Where a fragment stands in its packet.
package struct FragmentPosition: BitwiseCopyable {
    /// 16 bits of the IPv4 header (RFC 791 §3.1), or 32 of the IPv6 fragment header (RFC 8200 §4.5).
    package private(set) var identification: UInt32 = 0
    /// Bytes from the start of the part that is cut into fragments.
    var offset = 0
    var end = 0
    /// No more fragments follow it.
    var isLast = false
    /// The protocol (IPv4), or what the fragment header names as next.
    var next: UInt8 = 0

    /// - Precondition: the layout is that of a fragment in the view.
    package init(_ view: PacketView, _ layout: PacketLayout) {
        guard layout.version == 6 else {
            identification = UInt32(view.u16(layout.inner &+ 4))
            offset = Int(view.u16(layout.inner &+ 6) & 0x1FFF) &* 8
            isLast = view.u16(layout.inner &+ 6) & 0x2000 == 0
            next = layout.protocolNumber
            let header = Int(view.u8(layout.inner) & 0x0F) &* 4
            end = offset &+ layout.innerEnd &- layout.inner &- header
            return
        }
        guard
            let walk = IPv6ExtensionWalk(
                view.prefix(layout.innerEnd), at: layout.inner &+ IPv6Header.length,
                end: layout.innerEnd, nextHeader: view.u8(layout.inner &+ 6), limit: 8)
        else { return }
        identification = view.u32(walk.fragmentHeader &+ 4)
        offset = walk.fragmentOffset
        end = offset &+ layout.innerEnd &- walk.fragmentHeader &- 8
        isLast = !walk.moreFragments
        next = walk.fragmentProtocol
    }
}

extension Packet {
    /// - Precondition: it is a fragment.
    var fragmentPosition: FragmentPosition { FragmentPosition(view, layout) }

    /// A fragment that hides from the rules what they would look at: a first one too short for the
    /// transport header (RFC 1858 §3, RFC 7112 §5), or a later one that starts within that header.
    ///
    /// - Parameter isFollowed: the first one is remembered, with what it names as next header. What a
    ///   later one of IPv6 names for itself is free.
    func hidesItsHeader(isFollowed: Bool) -> Bool {
        let needed: Int
        switch layout.protocolNumber {
        case _ where layout.isLaterFragment && layout.version == 6 && !isFollowed:
            needed = TCPHeader.minimumLength
        case IPProtocol.tcp: needed = TCPHeader.minimumLength
        case IPProtocol.udp, IPProtocol.icmp, IPProtocol.icmpv6: needed = UDPHeader.length
        default: return false
        }
        guard layout.isLaterFragment else { return layout.innerEnd &- layout.transport < needed }
        return fragmentPosition.offset < needed
    }
}
