import Dataplane
import Wire

/// A small number in the IP header, and the values it may have.
struct HeaderCheck: BitwiseCopyable {
    /// Where in the header two bytes are read, and by how many bits they are shifted.
    private let v4: (offset: UInt8, shift: UInt8)
    private let v6: (offset: UInt8, shift: UInt8)
    private let mask: UInt8
    private let wanted: ByteSet

    /// TTL (RFC 791 §3.1) or hop limit (RFC 8200 §3).
    static func ttl(_ wanted: ByteSet) -> HeaderCheck {
        HeaderCheck(v4: (8, 8), v6: (6, 0), mask: 0xFF, wanted)
    }

    /// The upper six bits of TOS or traffic class (RFC 2474 §3).
    static func dscp(_ wanted: ByteSet) -> HeaderCheck {
        HeaderCheck(v4: (0, 2), v6: (0, 6), mask: 0x3F, wanted)
    }

    /// - Precondition: both bytes lie in a header without options.
    private init(
        v4: (offset: UInt8, shift: UInt8), v6: (offset: UInt8, shift: UInt8), mask: UInt8,
        _ wanted: ByteSet
    ) {
        precondition(v4.offset <= 18 && v6.offset <= 38)
        self.v4 = v4
        self.v6 = v6
        self.mask = mask
        self.wanted = wanted
    }

    @inline(__always)
    func holds(_ packet: borrowing Packet) -> Bool {
        let place = packet.version == 6 ? v6 : v4
        // The parser has found a whole header there.
        let bits = packet.view.u16(packet.layout.inner &+ Int(place.offset))
        return wanted.contains(
            UInt8(truncatingIfNeeded: bits &>> UInt16(place.shift)) & mask)
    }
}
