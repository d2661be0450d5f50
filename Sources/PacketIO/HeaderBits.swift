/// Masks of header fields, as the kernel's programs (classic BPF, nf_tables) test them.
enum HeaderBits {
    /// First byte of an IPv4 header: its length in words of four bytes (RFC 791 §3.1).
    static let ipv4Length: UInt32 = 0x0F
    /// First byte of an IPv4 header without options.
    static let ipv4Plain: UInt32 = 0x45
    /// More Fragments and the fragment offset: zero in what is no fragment (RFC 791 §3.1).
    static let ipv4Fragment: UInt32 = 0x3FFF
    /// First byte of a Geneve header: length of its options in words of four bytes (RFC 8926 §3.4).
    static let geneveOptions: UInt32 = 0x3F
    /// The number of a VLAN in its tag; zero in a tag that is only a priority (IEEE 802.1Q §6.9).
    static let vlanNumber: UInt32 = 0x0FFF
    /// What a filter returns to take a packet whole: more than any IPv4 packet has.
    static let wholePacket: UInt32 = 0x4_0000
}
