import Wire

/// What is remembered of an inner packet until it comes back: 64 bits for its bytes without
/// their checksums, and the checksums beside them, so that a wrong checksum can be told from a
/// wrong payload.
public struct Fingerprint: Equatable, Sendable, BitwiseCopyable {
    /// Everything but the checksum fields, the length included.
    public var body: UInt64
    /// IPv4 header checksum and transport checksum, 16 bits each.
    public var checksums: UInt32

    /// Of all bytes from `inner.start` to the end of the view, trailing ones included. The
    /// checksum fields are zeroed meanwhile.
    public init(_ view: PacketView, _ inner: InnerPacket) {
        let header = inner.version == 4 ? inner.start + 10 : 0
        let field = inner.checksumField
        let headerSum = header == 0 ? 0 : view.u16(header)
        let fieldSum = field == 0 ? 0 : view.u16(field)
        if header != 0 { view.set16(header, 0) }
        if field != 0 { view.set16(field, 0) }
        body = Fingerprint.digest(view, from: inner.start)
        if header != 0 { view.set16(header, headerSum) }
        if field != 0 { view.set16(field, fieldSum) }
        checksums = UInt32(headerSum) << 16 | UInt32(fieldSum)
    }

    public init(body: UInt64, checksums: UInt32) {
        self.body = body
        self.checksums = checksums
    }

    /// Of bytes that are no packet.
    public init(bytes view: PacketView, from start: Int) {
        body = Fingerprint.digest(view, from: start)
        checksums = 0
    }

    /// Of an inner packet that stands alone.
    public init(_ bytes: [UInt8]) {
        var bytes = bytes
        self = withPacketView(&bytes) { view in
            guard let inner = InnerPacket(view, at: 0) else {
                return Fingerprint(bytes: view, from: 0)
            }
            return Fingerprint(view, inner)
        }
    }

    /// 16 bytes a step, each folded into the 128-bit product of its halves.
    static func digest(_ view: PacketView, from start: Int) -> UInt64 {
        var offset = start
        let count = view.count &- start
        var h: UInt64 = 0x2D35_8DCC_AA6C_78A5 ^ UInt64(truncatingIfNeeded: count)
        while view.count &- offset >= 16 {
            h = mix(view.u64(offset) ^ h, view.u64(offset &+ 8) ^ 0x8BB8_4B93_962E_ACC9)
            offset &+= 16
        }
        var tail: (UInt64, UInt64) = (0, 0)
        if view.count &- offset >= 8 {
            tail.0 = view.u64(offset)
            offset &+= 8
        }
        while offset < view.count {
            tail.1 = tail.1 &<< 8 | UInt64(view.u8(offset))
            offset &+= 1
        }
        h = mix(tail.0 ^ h, tail.1 ^ 0x4B33_A62E_D433_D4A3)
        return mix(h, 0x9E37_79B9_7F4A_7C15)
    }

    private static func mix(_ a: UInt64, _ b: UInt64) -> UInt64 {
        let product = a.multipliedFullWidth(by: b)
        return product.high ^ product.low ^ a
    }
}
