/// The hash that steers flows to workers: symmetric in the inner tuple, keyed, and equal, bit for
/// bit, to what the classic BPF programs of PacketIO compute for the same bytes.
///
/// It reads raw bytes, trusts none, and knows nothing of endpoints. Nil = cannot be read: such a
/// packet goes to worker 0. Only 32-bit wrapping arithmetic, since classic BPF has no other.
///
/// An error of ICMP hashes like the packet that it quotes, so that it meets that one's flow; one
/// that quotes none, as any ICMP.
public struct FlowHash: Equatable, Sendable {
    /// IPv6 extension headers walked before giving up.
    public static let extensionLimit = 4
    // Odd constants of well-known integer hashes (MurmurHash3 and lowbias32 finalisers).
    public static let sideFactor: UInt32 = 0x85EB_CA6B
    public static let finalFactor: UInt32 = 0x7FEB_352D

    /// Protocol and ports count; else addresses alone, so that fragments meet their flow.
    public let coversPorts: Bool
    /// Who does not know it cannot aim flows at one worker.
    public let key: UInt32
    /// Odd, and secret with the key: a known factor would tell which port makes up for which
    /// address. Of key 0, the golden ratio and the FNV prime.
    public let portFactor: UInt32
    public let foldFactor: UInt32

    /// - Parameter key: a random word of the process. 0 for tests, which repeat.
    public init(key: UInt32 = 0, coversPorts: Bool = true) {
        self.key = key
        self.coversPorts = coversPorts
        portFactor = (0x9E37_79B1 ^ key) | 1
        foldFactor = (0x0100_0193 ^ (key &<< 16 | key &>> 16)) | 1
    }

    /// The hash of the packet whose Geneve header starts at `geneve`.
    public func ofPacket(_ view: PacketView, geneveAt geneve: Int) -> UInt32? {
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

    /// - Precondition: 20 bytes are there.
    private func ofIPv4(_ view: PacketView, at inner: Int, isQuoted: Bool = false) -> UInt32? {
        let protocolNumber = view.u8(inner &+ 9)
        let transport = inner &+ Int(view.u8(inner) & 0x0F) &* 4
        let isFragment = view.u16(inner &+ 6) & 0x3FFF != 0
        if protocolNumber == IPProtocol.icmp, !isFragment, !isQuoted, view.count > transport,
            ICMPHeader.quotes(type: view.u8(transport), version: 4)
        {
            let quote = transport &+ ICMPHeader.length
            if view.count &- quote >= IPv4Header.minimumLength, view.u8(quote) &>> 4 == 4 {
                return ofIPv4(view, at: quote, isQuoted: true)
            }
        }
        let source = view.u32(inner &+ 12)
        let destination = view.u32(inner &+ 16)
        guard coversPorts, !isFragment, FlowHash.hasPorts(protocolNumber) else {
            return combine(side(source, 0), side(destination, 0), protocolNumber)
        }
        return withPorts(view, at: transport, source, destination, protocolNumber)
    }

    private func ofIPv6(_ view: PacketView, at inner: Int, isQuoted: Bool = false) -> UInt32? {
        guard view.count &- inner >= IPv6Header.length else { return nil }
        let source = fold(view, at: inner &+ 8)
        let destination = fold(view, at: inner &+ 24)
        let portless = { combine(side(source, 0), side(destination, 0), $0) }
        let unreadable = coversPorts ? nil : portless(0)
        var next = view.u8(inner &+ 6)
        var offset = inner &+ IPv6Header.length
        for _ in 0..<FlowHash.extensionLimit {
            guard IPv6ExtensionWalk.isExtension(next) else { break }
            guard view.count &- offset >= 8 else { return unreadable }
            let following = view.u8(offset)
            if next == IPProtocol.ipv6Fragment {
                // A real fragment (RFC 6946: not an atomic one) has no ports. What it names as next
                // counts in the first one alone (RFC 8200 §4.5), so it does not count here.
                guard view.u16(offset &+ 2) & IPv6ExtensionWalk.fragmentBits == 0 else {
                    return portless(IPProtocol.ipv6Fragment)
                }
                offset &+= 8
            } else {
                offset &+= (Int(view.u8(offset &+ 1)) &+ 1) &* 8
            }
            next = following
        }
        guard !IPv6ExtensionWalk.isExtension(next) else { return unreadable }
        if next == IPProtocol.icmpv6, !isQuoted, view.count > offset,
            ICMPHeader.quotes(type: view.u8(offset), version: 6)
        {
            let quote = offset &+ ICMPHeader.length
            if view.count &- quote >= IPv6Header.length, view.u8(quote) &>> 4 == 6 {
                return ofIPv6(view, at: quote, isQuoted: true)
            }
        }
        guard coversPorts, FlowHash.hasPorts(next) else { return portless(next) }
        return withPorts(view, at: offset, source, destination, next)
    }

    private func withPorts(
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
    private func fold(_ view: PacketView, at offset: Int) -> UInt32 {
        var h = view.u32(offset)
        h = h &* foldFactor &+ view.u32(offset &+ 4)
        h = h &* foldFactor &+ view.u32(offset &+ 8)
        return h &* foldFactor &+ view.u32(offset &+ 12)
    }

    /// One end of a flow, mixed; not linear, so that ends do not cancel out.
    private func side(_ address: UInt32, _ port: UInt16) -> UInt32 {
        var h = (address &+ UInt32(port) &* portFactor) ^ key
        h = (h ^ (h &>> 16)) &* FlowHash.sideFactor
        return h ^ (h &>> 13)
    }

    /// Both ends, in either order.
    private func combine(_ a: UInt32, _ b: UInt32, _ protocolNumber: UInt8) -> UInt32 {
        var h = a &+ b &+ (coversPorts ? UInt32(protocolNumber) : 0)
        h = (h ^ (h &>> 16)) &* FlowHash.finalFactor
        return h ^ (h &>> 15)
    }

    /// The worker for a hash: its upper half scaled to the count, without a division.
    public static func worker(_ hash: UInt32, of workers: Int) -> Int {
        Int(((hash &>> 16) &* UInt32(truncatingIfNeeded: workers)) &>> 16)
    }
}
