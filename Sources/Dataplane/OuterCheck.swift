import PacketIO
import Wire

/// Who is answered, and how often, since what would circle is not; and the outer UDP checksum, where
/// it is always verified.
///
/// Nearly every packet passes by two bytes of its header. The settings are looked at for the others
/// only: the packet path would copy all that it might need of them.
@usableFromInline struct OuterCheck: BitwiseCopyable {
    /// Bit n: a packet whose source's last six bits are n has to be looked at.
    @usableFromInline var suspects: UInt64 = ~0
    /// What an answer's time to live loses: see `IPv4Header.turnAround`.
    @usableFromInline var hop = IPv4Header.oneHop

    /// A suspect that packets are taken from after all, as stored: its packets come one after another.
    @usableFromInline var taken: UInt32 = 0x7F

    @inlinable init() {}

    /// Once a burst: our own addresses may have changed.
    @inlinable @inline(__always)
    init(_ settings: PathSettings) {
        let isOpen = settings.allowedSources.isEveryone && settings.verifyOuterChecksum != .always
        suspects = isOpen ? settings.ownAddresses.lastBits : ~0
        hop = settings.keepsOuterTTL ? 0 : IPv4Header.oneHop
    }

    /// False when the packet has to be looked at. What is shorter than a header passes: the parser
    /// refuses it.
    @unsafe @inlinable @inline(__always)
    func passes(_ frame: UnsafeMutablePointer<Frame>) -> Bool {
        let length = unsafe Int(frame.pointee.length)
        guard length >= IPv4Header.minimumLength else { return true }
        // Sound: the backend vouches for `length` bytes at `base`.
        let view = unsafe PacketView(unsafeBase: frame.pointee.base, count: length)
        guard view.u8(8) > 1, view.u8(12) != 127 else { return false }
        return suspects &>> UInt64(view.u8(15) & 63) & 1 == 0 || view.stored32(12) == taken
    }

    /// Why a packet that did not pass is not answered; nil when it may be. What is no Geneve packet
    /// is told as such.
    @inlinable
    mutating func refusal(_ frame: Frame, _ settings: PathSettings) -> DropReason? {
        if frame.facts.contains(.truncated) { return .tooBig }
        // Sound: the backend vouches for `length` bytes at `base`.
        let view = unsafe PacketView(unsafeBase: frame.base, count: Int(frame.length))
        var layout = PacketLayout()
        if let reason = layout.parseOuter(view, frame.facts) { return reason }
        let source = view.u32(12)
        // An answer to one of our own addresses would come back to us, for ever.
        guard view.u8(12) != 127, source != view.u32(16), !settings.ownAddresses.contains(source),
            settings.allowedSources.contains(source)
        else { return .sourceNotAllowed }
        // RFC 1812 §5.3.1: it has come as far as it may.
        let timeToLive = view.u8(8)
        if timeToLive == 0 || timeToLive == 1 && !settings.keepsOuterTTL { return .outerTTL }
        guard settings.verifyOuterChecksum == .always else {
            taken = view.stored32(12)
            return nil
        }
        let isRight =
            frame.facts.contains(.checksumVerified)
            || PacketLayout.verifyOuterChecksum(
                view, from: layout.outerHeader, to: layout.outerEnd)
        return isRight ? nil : .outerChecksum
    }
}
