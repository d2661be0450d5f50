/// Protocol numbers that Sluice looks into (IANA assigned internet protocol numbers).
public enum IPProtocol {
    public static let icmp: UInt8 = 1
    public static let tcp: UInt8 = 6
    public static let udp: UInt8 = 17
    /// IPv6 fragment header (RFC 8200 §4.5).
    public static let ipv6Fragment: UInt8 = 44
    public static let icmpv6: UInt8 = 58
}

/// UDP header, RFC 768.
public struct UDPHeader: Equatable, Sendable, BitwiseCopyable {
    public static let length = 8

    public var sourcePort: UInt16 = 0
    public var destinationPort: UInt16 = 0
    /// Header and payload, bytes.
    public var datagramLength: UInt16 = 8
    public var checksum: UInt16 = 0

    public init() {}

    /// Nil when 8 bytes are not there.
    @inlinable @inline(__always)
    public init?(_ view: PacketView, at offset: Int) {
        guard offset >= 0, view.count &- offset >= UDPHeader.length else { return nil }
        sourcePort = view.u16(offset)
        destinationPort = view.u16(offset &+ 2)
        datagramLength = view.u16(offset &+ 4)
        checksum = view.u16(offset &+ 6)
    }

    /// - Precondition: 8 bytes are there.
    public func write(to view: PacketView, at offset: Int) {
        precondition(offset >= 0 && view.count - offset >= UDPHeader.length)
        view.set16(offset, sourcePort)
        view.set16(offset + 2, destinationPort)
        view.set16(offset + 4, datagramLength)
        view.set16(offset + 6, checksum)
    }
}

/// TCP header, RFC 9293 §3.1.
public struct TCPHeader: Equatable, Sendable, BitwiseCopyable {
    public static let minimumLength = 20

    public var sourcePort: UInt16 = 0
    public var destinationPort: UInt16 = 0
    public var sequence: UInt32 = 0
    public var acknowledgement: UInt32 = 0
    /// Data offset × 4, bytes.
    public var headerLength = 20
    /// CWR ECE URG ACK PSH RST SYN FIN, bit 7 to bit 0.
    public var flags: UInt8 = 0
    public var window: UInt16 = 0
    public var checksum: UInt16 = 0
    public var urgentPointer: UInt16 = 0

    public init() {}

    /// Nil when 20 bytes are not there. `headerLength` is as on the wire: 0 to 60.
    @inlinable @inline(__always)
    public init?(_ view: PacketView, at offset: Int) {
        guard offset >= 0, view.count &- offset >= TCPHeader.minimumLength else { return nil }
        sourcePort = view.u16(offset)
        destinationPort = view.u16(offset &+ 2)
        sequence = view.u32(offset &+ 4)
        acknowledgement = view.u32(offset &+ 8)
        headerLength = Int(view.u8(offset &+ 12) &>> 4) &* 4
        flags = view.u8(offset &+ 13)
        window = view.u16(offset &+ 14)
        checksum = view.u16(offset &+ 16)
        urgentPointer = view.u16(offset &+ 18)
    }

    /// - Precondition: 20 bytes are there.
    public func write(to view: PacketView, at offset: Int) {
        precondition(offset >= 0 && view.count - offset >= TCPHeader.minimumLength)
        view.set16(offset, sourcePort)
        view.set16(offset + 2, destinationPort)
        view.set32(offset + 4, sequence)
        view.set32(offset + 8, acknowledgement)
        view.set8(offset + 12, UInt8(truncatingIfNeeded: headerLength / 4) << 4)
        view.set8(offset + 13, flags)
        view.set16(offset + 14, window)
        view.set16(offset + 16, checksum)
        view.set16(offset + 18, urgentPointer)
    }
}

/// ICMP and ICMPv6 header (RFC 792, RFC 4443 §2.1), with the echo fields of RFC 792 and
/// RFC 4443 §4.1. In other messages the last four bytes mean something else.
public struct ICMPHeader: Equatable, Sendable, BitwiseCopyable {
    public static let length = 8
    /// RFC 792.
    public static let echoReply: UInt8 = 0
    public static let echoRequest: UInt8 = 8
    /// RFC 4443 §4.
    public static let echoRequestV6: UInt8 = 128
    public static let echoReplyV6: UInt8 = 129

    /// Errors that tell of a packet's fate and quote its beginning behind 8 bytes of their own: 3, 11
    /// and 12 (RFC 792), 1 to 4 (RFC 4443 §3). Not redirects, which ask for another route, and not
    /// source quenches, which nobody sends any more (RFC 6633).
    @inlinable @inline(__always)
    public static func quotes(type: UInt8, version: UInt8) -> Bool {
        version == 4 ? type == 3 || type == 11 || type == 12 : type &- 1 < 4
    }

    public var type: UInt8 = 0
    public var code: UInt8 = 0
    public var checksum: UInt16 = 0
    public var identifier: UInt16 = 0
    public var sequence: UInt16 = 0

    public init() {}

    /// Nil when 8 bytes are not there.
    @inlinable @inline(__always)
    public init?(_ view: PacketView, at offset: Int) {
        guard offset >= 0, view.count &- offset >= ICMPHeader.length else { return nil }
        type = view.u8(offset)
        code = view.u8(offset &+ 1)
        checksum = view.u16(offset &+ 2)
        identifier = view.u16(offset &+ 4)
        sequence = view.u16(offset &+ 6)
    }

    /// - Precondition: 8 bytes are there.
    public func write(to view: PacketView, at offset: Int) {
        precondition(offset >= 0 && view.count - offset >= ICMPHeader.length)
        view.set8(offset, type)
        view.set8(offset + 1, code)
        view.set16(offset + 2, checksum)
        view.set16(offset + 4, identifier)
        view.set16(offset + 6, sequence)
    }
}
