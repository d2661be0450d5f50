/// Bits of the TCP flags (RFC 9293 §3.1). Computed, so that the packet path has them as literals.
public enum TCPFlag {
    @inlinable public static var fin: UInt8 { 1 }
    @inlinable public static var syn: UInt8 { 2 }
    @inlinable public static var rst: UInt8 { 4 }
    @inlinable public static var psh: UInt8 { 8 }
    @inlinable public static var ack: UInt8 { 16 }
    @inlinable public static var urg: UInt8 { 32 }
    @inlinable public static var ece: UInt8 { 64 }
    @inlinable public static var cwr: UInt8 { 128 }

    /// A SYN that opens a connection (RFC 9293 §3.5): with FIN or RST it opens none.
    @inlinable @inline(__always)
    public static func opens(_ flags: UInt8) -> Bool { flags & (syn | ack | fin | rst) == syn }

    /// All of them, bit 0 first.
    public static let names: KeyValuePairs<String, UInt8> = [
        "fin": fin, "syn": syn, "rst": rst, "psh": psh, "ack": ack, "urg": urg, "ece": ece,
        "cwr": cwr,
    ]
}
