import Wire

extension Needle {
    /// - Parameter start: `count` bytes that outlive every use.
    @unsafe
    init(unsafeStart start: UnsafePointer<UInt8>, count: Int) {
        unsafe self.start = unsafe start
        self.count = count
    }
}

extension Packet {
    /// The identification of a fragment: 16 bits of the IPv4 header (RFC 791 §3.1), or 32 of the
    /// IPv6 fragment header (RFC 8200 §4.5). 0 for whole packets.
    var fragmentIdentification: UInt32 {
        guard layout.isFragment else { return 0 }
        guard layout.version == 6 else { return UInt32(view.u16(layout.inner &+ 4)) }
        // The parser has walked this chain: every header lies within the packet.
        var next = view.u8(layout.inner &+ 6)
        var at = layout.inner &+ IPv6Header.length
        while IPv6ExtensionWalk.isExtension(next), at &+ 8 <= layout.innerEnd {
            if next == 44, view.u16(at &+ 2) & 0xFFF9 != 0 { return view.u32(at &+ 4) }
            let length = next == 44 ? 8 : (Int(view.u8(at &+ 1)) &+ 1) &* 8
            next = view.u8(at)
            at &+= length
        }
        return 0
    }
}
