/// The hash that steers flows to workers: symmetric in the inner tuple, and equal, bit for bit,
/// to what the classic BPF programs of PacketIO compute for the same bytes.
///
/// It reads raw bytes, trusts none, and knows nothing of endpoints. Nil = cannot be read: such a
/// packet goes to worker 0. Only 32-bit wrapping arithmetic, since classic BPF has no other.
public enum FlowHash {
    /// IPv6 extension headers walked before giving up.
    public static let extensionLimit = 4

    // Odd constants of well-known integer hashes (golden ratio; MurmurHash3 and lowbias32
    // finalisers).
    public static let portFactor: UInt32 = 0x9E37_79B1
    public static let sideFactor: UInt32 = 0x85EB_CA6B
    public static let finalFactor: UInt32 = 0x7FEB_352D
    public static let foldFactor: UInt32 = 0x0100_0193

    /// The hash of the packet whose Geneve header starts at `geneve`.
    @inlinable
    public static func ofPacket(_ view: PacketView, geneveAt geneve: Int) -> UInt32? {
        guard geneve >= 0, view.count &- geneve >= GeneveHeader.fixedLength else { return nil }
        let inner =
            geneve &+ GeneveHeader.fixedLength &+ Int(view.u8(geneve) & 0x3F) &* 4
        guard view.count &- inner >= IPv4Header.minimumLength else { return nil }
        switch view.u8(inner) &>> 4 {
        case 4: return ofIPv4(view, at: inner)
        case 6: return ofIPv6(view, at: inner)
        default: return nil
        }
    }

    @inlinable
    static func ofIPv4(_ view: PacketView, at inner: Int) -> UInt32? {
        let protocolNumber = view.u8(inner &+ 9)
        let source = view.u32(inner &+ 12)
        let destination = view.u32(inner &+ 16)
        let isFragment = view.u16(inner &+ 6) & 0x3FFF != 0
        guard !isFragment, hasPorts(protocolNumber) else {
            return combine(side(source, 0), side(destination, 0), protocolNumber)
        }
        let transport = inner &+ Int(view.u8(inner) & 0x0F) &* 4
        return withPorts(view, at: transport, source, destination, protocolNumber)
    }

    @inlinable
    static func ofIPv6(_ view: PacketView, at inner: Int) -> UInt32? {
        guard view.count &- inner >= IPv6Header.length else { return nil }
        let source = fold(view, at: inner &+ 8)
        let destination = fold(view, at: inner &+ 24)
        var next = view.u8(inner &+ 6)
        var offset = inner &+ IPv6Header.length
        for _ in 0..<extensionLimit {
            guard IPv6ExtensionWalk.isExtension(next) else { break }
            guard view.count &- offset >= 8 else { return nil }
            let following = view.u8(offset)
            if next == 44 {
                // A real fragment (RFC 6946: not an atomic one) has no ports.
                guard view.u16(offset &+ 2) & 0xFFF9 == 0 else {
                    return combine(side(source, 0), side(destination, 0), following)
                }
                offset &+= 8
            } else {
                offset &+= (Int(view.u8(offset &+ 1)) &+ 1) &* 8
            }
            next = following
        }
        guard !IPv6ExtensionWalk.isExtension(next) else { return nil }
        guard hasPorts(next) else {
            return combine(side(source, 0), side(destination, 0), next)
        }
        return withPorts(view, at: offset, source, destination, next)
    }

    @inlinable @inline(__always)
    static func withPorts(
        _ view: PacketView, at transport: Int, _ source: UInt32, _ destination: UInt32,
        _ protocolNumber: UInt8
    ) -> UInt32? {
        guard view.count &- transport >= 4 else { return nil }
        return combine(
            side(source, view.u16(transport)), side(destination, view.u16(transport &+ 2)),
            protocolNumber)
    }

    @inlinable @inline(__always)
    public static func hasPorts(_ protocolNumber: UInt8) -> Bool {
        protocolNumber == IPProtocol.tcp || protocolNumber == IPProtocol.udp
    }

    /// 16 address bytes in 32 bits (Horner's rule).
    @inlinable @inline(__always)
    static func fold(_ view: PacketView, at offset: Int) -> UInt32 {
        var h = view.u32(offset)
        h = h &* foldFactor &+ view.u32(offset &+ 4)
        h = h &* foldFactor &+ view.u32(offset &+ 8)
        return h &* foldFactor &+ view.u32(offset &+ 12)
    }

    /// One end of a flow, mixed; not linear, so that ends do not cancel out.
    @inlinable @inline(__always)
    static func side(_ address: UInt32, _ port: UInt16) -> UInt32 {
        var h = address &+ UInt32(port) &* portFactor
        h = (h ^ (h &>> 16)) &* sideFactor
        return h ^ (h &>> 13)
    }

    /// Both ends, in either order.
    @inlinable @inline(__always)
    static func combine(_ a: UInt32, _ b: UInt32, _ protocolNumber: UInt8) -> UInt32 {
        var h = a &+ b &+ UInt32(protocolNumber)
        h = (h ^ (h &>> 16)) &* finalFactor
        return h ^ (h &>> 15)
    }

    /// The worker for a hash: its upper half scaled to the count, without a division.
    @inlinable @inline(__always)
    public static func worker(_ hash: UInt32, of workers: Int) -> Int {
        Int(((hash &>> 16) &* UInt32(truncatingIfNeeded: workers)) &>> 16)
    }
}
