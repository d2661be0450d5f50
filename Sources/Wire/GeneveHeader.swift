/// Geneve header, RFC 8926 §3.4.
///
///     |Ver|  Opt Len  |O|C|    Rsvd.  |          Protocol Type        |
///     |        Virtual Network Identifier (VNI)       |    Reserved   |
///     |                    Variable-Length Options                    |
public struct GeneveHeader: Equatable, Sendable, BitwiseCopyable {
    /// The fixed part, bytes.
    public static let fixedLength = 8
    /// IANA port for Geneve (RFC 8926 §3.3).
    public static let port: UInt16 = 6081
    /// RFC 8926 §3.4: an EtherType; GWLB carries bare IP.
    public static let protocolIPv4: UInt16 = 0x0800
    public static let protocolIPv6: UInt16 = 0x86DD

    /// 2 bits.
    public var version: UInt8 = 0
    /// Options, bytes: 0 to 252 (6 bits on the wire, units of 4).
    public var optionsLength = 0
    /// O bit: a control packet.
    public var isControl = false
    /// C bit: critical options are present.
    public var hasCriticalOptions = false
    /// 6 bits, ignored on receipt.
    public var reserved1: UInt8 = 0
    public var protocolType: UInt16 = GeneveHeader.protocolIPv4
    /// 24 bits.
    public var vni: UInt32 = 0
    /// 8 bits, ignored on receipt.
    public var reserved2: UInt8 = 0

    public init() {}

    /// Nil when 8 bytes are not there. Checks nothing else.
    @inlinable @inline(__always)
    public init?(_ view: PacketView, at offset: Int) {
        guard offset >= 0, view.count &- offset >= GeneveHeader.fixedLength else { return nil }
        let first = view.u8(offset)
        version = first &>> 6
        optionsLength = Int(first & 0x3F) &* 4
        let second = view.u8(offset &+ 1)
        isControl = second & 0x80 != 0
        hasCriticalOptions = second & 0x40 != 0
        reserved1 = second & 0x3F
        protocolType = view.u16(offset &+ 2)
        let third = view.u32(offset &+ 4)
        vni = third &>> 8
        reserved2 = UInt8(truncatingIfNeeded: third)
    }

    /// Fixed part and options, bytes.
    @inlinable public var length: Int { GeneveHeader.fixedLength &+ optionsLength }

    /// Writes the fixed part. - Precondition: 8 bytes are there.
    public func write(to view: PacketView, at offset: Int) {
        precondition(offset >= 0 && view.count - offset >= GeneveHeader.fixedLength)
        view.set8(offset, version << 6 | UInt8(truncatingIfNeeded: optionsLength / 4) & 0x3F)
        view.set8(
            offset + 1,
            (isControl ? 0x80 : 0) | (hasCriticalOptions ? 0x40 : 0) | reserved1 & 0x3F)
        view.set16(offset + 2, protocolType)
        view.set32(offset + 4, vni << 8 | UInt32(reserved2))
    }
}

/// One option, RFC 8926 §3.5.
///
///     |          Option Class         |      Type     |R|R|R| Length  |
///     |                  Variable-Length Option Data                  |
public struct GeneveOption: Equatable, Sendable, BitwiseCopyable {
    public static let headerLength = 4

    public var optionClass: UInt16 = 0
    /// With the critical bit on top.
    public var type: UInt8 = 0
    /// 3 bits, ignored on receipt.
    public var reserved: UInt8 = 0
    /// Data, bytes: 0 to 124 (5 bits on the wire, units of 4).
    public var dataLength = 0

    public init() {}

    /// Nil when 4 bytes are not there. Checks nothing else.
    @inlinable @inline(__always)
    public init?(_ view: PacketView, at offset: Int) {
        guard offset >= 0, view.count &- offset >= GeneveOption.headerLength else { return nil }
        optionClass = view.u16(offset)
        type = view.u8(offset &+ 2)
        let last = view.u8(offset &+ 3)
        reserved = last &>> 5
        dataLength = Int(last & 0x1F) &* 4
    }

    /// RFC 8926 §3.5.1: the top bit of the type. A receiver that does not know a critical option
    /// must drop the packet.
    @inlinable public var isCritical: Bool { type & 0x80 != 0 }

    /// Writes the option's header. - Precondition: 4 bytes are there.
    public func write(to view: PacketView, at offset: Int) {
        precondition(offset >= 0 && view.count - offset >= GeneveOption.headerLength)
        view.set16(offset, optionClass)
        view.set8(offset + 2, type)
        view.set8(offset + 3, reserved << 5 | UInt8(truncatingIfNeeded: dataLength / 4) & 0x1F)
    }
}

/// The three options of AWS, class 0x0108, read from a walk over all options.
public struct AWSOptions: Equatable, Sendable, BitwiseCopyable {
    public static let optionClass: UInt16 = 0x0108

    /// Type 1: the GWLB endpoint's id.
    public var endpoint: UInt64 = 0
    /// Type 2: the attachment's id; opaque.
    public var attachment: UInt64 = 0
    /// Type 3: the flow cookie; opaque.
    public var cookie: UInt32 = 0
    /// Which of them were there: `endpointBit`, `attachmentBit`, `cookieBit`.
    public var present: UInt8 = 0

    // An option's first four bytes as one word: class, type, length in words (RFC 8926 §3.5).
    @inlinable static var endpointWord: UInt32 { 0x0108_0102 }
    @inlinable static var attachmentWord: UInt32 { 0x0108_0202 }
    @inlinable static var cookieWord: UInt32 { 0x0108_0301 }

    @inlinable static var endpointBit: UInt8 { 1 }
    @inlinable static var attachmentBit: UInt8 { 2 }
    @inlinable static var cookieBit: UInt8 { 4 }
    @inlinable static var allBits: UInt8 { 7 }

    @inlinable @inline(__always)
    public init() {}

    /// Geneve header and options as GWLB sends them, bytes.
    @inlinable public static var usualLength: Int { 40 }

    /// The header that GWLB sends: version 0, no bit set, AWS's three options in AWS's order and no
    /// other. Four comparisons instead of a walk of three rounds save 90 instructions per packet.
    /// Then `usualLength` bytes and one more are there.
    @inlinable @inline(__always)
    public static func areUsual(_ view: PacketView, at geneve: Int) -> Bool {
        view.count &- geneve > usualLength && view.u16(geneve) == 0x0800
            && view.u32(geneve &+ 8) == endpointWord && view.u32(geneve &+ 20) == attachmentWord
            && view.u32(geneve &+ 32) == cookieWord
    }

    /// Reads them. - Precondition: `areUsual`.
    @inlinable @inline(__always)
    public init(usual view: PacketView, at geneve: Int) {
        endpoint = view.u64(geneve &+ 12)
        attachment = view.u64(geneve &+ 24)
        cookie = view.u32(geneve &+ 36)
        present = AWSOptions.allBits
    }

    @inlinable public var isComplete: Bool { present == AWSOptions.allBits }
    @inlinable public var hasEndpoint: Bool { present & AWSOptions.endpointBit != 0 }

    public enum Outcome: UInt8, Sendable, BitwiseCopyable {
        case ok
        /// The options do not add up to Opt Len (RFC 8926 §3.5: silently drop).
        case malformed
        /// An unknown option is critical (RFC 8926 §3.5.1).
        case critical
        /// An AWS option came twice or with another length than 8, 8, 4.
        case invalid
    }

    /// Walks the options in [start, end), reading AWS's; others are passed over.
    @inlinable @inline(__always)
    public mutating func walk(_ view: PacketView, from start: Int, to end: Int) -> Outcome {
        assert(start >= 0 && start <= end && end <= view.count)
        var offset = start
        while offset < end {
            guard end &- offset >= GeneveOption.headerLength else { return .malformed }
            // Class, type, reserved bits and length as one word.
            let header = view.u32(offset)
            let data = offset &+ GeneveOption.headerLength
            let length = Int(header & 0x1F) &* 4
            guard end &- data >= length else { return .malformed }
            switch header & ~0xE0 {
            case AWSOptions.endpointWord where present & AWSOptions.endpointBit == 0:
                endpoint = view.u64(data)
                present |= AWSOptions.endpointBit
            case AWSOptions.attachmentWord where present & AWSOptions.attachmentBit == 0:
                attachment = view.u64(data)
                present |= AWSOptions.attachmentBit
            case AWSOptions.cookieWord where present & AWSOptions.cookieBit == 0:
                cookie = view.u32(data)
                present |= AWSOptions.cookieBit
            default:
                // Type 1 to 3 of AWS's class, but seen before or of another length.
                if header &>> 8 &- 0x01_0801 < 3 { return .invalid }
                if header & 0x8000 != 0 { return .critical }
            }
            offset = data &+ length
        }
        return .ok
    }
}
