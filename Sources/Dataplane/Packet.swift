import CSluice
import PacketIO
import Wire

/// A string of bytes to look for or to put in. The bytes must outlive every use: literals do.
@safe public struct Needle: @unchecked Sendable, BitwiseCopyable {
    @usableFromInline let start: UnsafePointer<UInt8>
    public let count: Int

    /// A literal: its bytes live as long as the process.
    @inlinable
    public init(_ text: StaticString) {
        precondition(text.hasPointerRepresentation)
        unsafe start = text.utf8Start
        count = text.utf8CodeUnitCount
    }

    /// - Parameter start: `count` bytes that outlive every use.
    @unsafe
    package init(unsafeStart start: UnsafePointer<UInt8>, count: Int) {
        unsafe self.start = unsafe start
        self.count = count
    }
}

/// What `Packet.replaceAll` did.
public enum ReplaceOutcome: Equatable, BitwiseCopyable, Sendable {
    /// The string does not occur; nothing changed.
    case absent
    /// So many occurrences were replaced.
    case replaced(Int)
    /// The packet is unchanged and must be dropped for this reason.
    case refused(DropReason)
}

/// One inner packet as a processor sees it: typed readers, and changes that keep every length
/// and checksum right. It lives for one call and cannot be kept.
@safe public struct Packet: ~Copyable, ~Escapable {
    // Not a PacketView: Swift 6.3 destroys a stored ~Escapable value by a call through its
    // metadata, once per packet.
    @usableFromInline let base: UnsafeMutableRawPointer
    @usableFromInline let room: Int
    @usableFromInline package var layout: PacketLayout
    @usableFromInline let facts: FrameFacts
    @usableFromInline let space: RewriteSpace
    @usableFromInline var rewritten: Bool
    /// A rewrite happened.
    @inlinable public var isRewritten: Bool { rewritten }

    /// - Parameter layout: what the parser found in the bytes of `view`.
    @_lifetime(copy view) @inlinable @inline(__always)
    init(
        _ view: PacketView, _ layout: PacketLayout, facts: FrameFacts, space: RewriteSpace
    ) {
        unsafe base = view.pointer(0)
        room = view.count
        self.layout = layout
        rewritten = false
        self.facts = facts
        self.space = space
    }

    /// Bytes from the outer IPv4 header on, with the room to grow.
    @inlinable
    package var view: PacketView {
        @_lifetime(borrow self) @inline(__always) get {
            // Sound: init took both from a view that outlives the packet.
            unsafe PacketView(unsafeBase: base, count: room)
        }
    }

    // ---- Readers.

    /// 4 or 6.
    @inlinable public var version: UInt8 { layout.version }
    /// The inner protocol number, behind any IPv6 extension headers.
    @inlinable public var protocolNumber: UInt8 { layout.protocolNumber }
    /// Zero without ports.
    @inlinable public var sourcePort: UInt16 { layout.sourcePort }
    @inlinable public var destinationPort: UInt16 { layout.destinationPort }
    @inlinable public var source: IPv6Address { layout.source }
    @inlinable public var destination: IPv6Address { layout.destination }
    /// The same with their version, for printing.
    @inlinable public var sourceAddress: IPAddress { IPAddress(version: version, source) }
    @inlinable public var destinationAddress: IPAddress { IPAddress(version: version, destination) }
    /// The GWLB endpoint's id.
    @inlinable public var endpoint: UInt64 { layout.options.endpoint }
    @inlinable public var isFragment: Bool { layout.isFragment }
    @inlinable public var isLaterFragment: Bool { layout.isLaterFragment }
    /// An ICMP error that quotes a packet which was forwarded, of a flow that is still known.
    @inlinable public var quotesLiveFlow: Bool { layout.quotesLiveFlow }
    /// TCP flags (RFC 9293 §3.1), or 0: `packet.tcpFlags & TCPFlag.syn != 0`.
    @inlinable public var tcpFlags: UInt8 { layout.tcpFlags }
    /// Inner IP packet, bytes.
    @inlinable public var length: Int { layout.innerEnd &- layout.inner }
    /// UDP or TCP payload, bytes; 0 when there is none to read.
    @inlinable public var payloadLength: Int { layout.payloadEnd &- layout.payload }

    /// True when either port is `port`.
    @inlinable @inline(__always)
    public func uses(port: UInt16) -> Bool {
        layout.hasPorts && (layout.sourcePort == port || layout.destinationPort == port)
    }

    /// Nil for the other version.
    @inlinable
    public var ipv4: IPv4Header? {
        @inline(__always) get {
            layout.version == 4 ? IPv4Header(view.prefix(layout.innerEnd), at: layout.inner) : nil
        }
    }

    @inlinable
    public var ipv6: IPv6Header? {
        @inline(__always) get {
            layout.version == 6 ? IPv6Header(view.prefix(layout.innerEnd), at: layout.inner) : nil
        }
    }

    /// Nil for other protocols, later fragments and headers that are cut off.
    @inlinable
    public var udp: UDPHeader? {
        @inline(__always) get {
            guard layout.protocolNumber == IPProtocol.udp, !layout.isLaterFragment else {
                return nil
            }
            return UDPHeader(view.prefix(layout.innerEnd), at: layout.transport)
        }
    }

    @inlinable
    public var tcp: TCPHeader? {
        @inline(__always) get {
            guard layout.protocolNumber == IPProtocol.tcp, !layout.isLaterFragment else {
                return nil
            }
            return TCPHeader(view.prefix(layout.innerEnd), at: layout.transport)
        }
    }

    /// The UDP or TCP payload, whole.
    @inlinable
    public var payload: Span<UInt8> {
        @_lifetime(borrow self) @inline(__always) get {
            // Sound: the parser has guarded [payload, payloadEnd).
            let start = unsafe UnsafePointer(
                view.pointer(layout.payload).assumingMemoryBound(to: UInt8.self))
            return unsafe _overrideLifetime(
                Span(_unsafeStart: start, count: payloadLength), borrowing: self)
        }
    }

    /// The UDP or TCP payload, to be read step by step.
    @inlinable
    public var payloadReader: PayloadReader {
        @_lifetime(borrow self) @inline(__always) get { payloadReader(from: 0) }
    }

    /// As `payloadReader`, from this byte of the payload on. No reader outlives a change of the
    /// packet: the next one goes on where it was.
    ///
    ///     var reader = packet.payloadReader(from: offset)
    ///     guard let old = reader.u32() else { return .forward }
    ///     offset = reader.offset
    ///     guard old <= 60 || packet.write(u32: 60, at: offset - 4) else { return .forward }
    @_lifetime(borrow self) @inlinable @inline(__always)
    public func payloadReader(from offset: Int) -> PayloadReader {
        // Sound: as payload.
        unsafe PayloadReader(
            unsafeBase: UnsafeRawPointer(view.pointer(layout.payload)), count: payloadLength,
            offset: offset)
    }

    /// A byte of the payload. - Precondition: index < payloadLength.
    @inlinable @inline(__always)
    public func payloadByte(_ index: Int) -> UInt8 {
        precondition(index >= 0 && index < payloadLength)
        return view.u8(layout.payload &+ index)
    }

    /// The ICMP or ICMPv6 header; nil for other protocols, later fragments and short packets.
    @inlinable
    public var icmp: ICMPHeader? {
        @inline(__always) get {
            let number = layout.version == 4 ? IPProtocol.icmp : IPProtocol.icmpv6
            guard layout.protocolNumber == number, !layout.isLaterFragment else { return nil }
            return ICMPHeader(view.prefix(layout.innerEnd), at: layout.transport)
        }
    }

    /// Where `needle` first occurs in the payload, from `start` on; nil when it does not.
    @inlinable @inline(__always)
    public func firstIndex(of needle: Needle, from start: Int = 0) -> Int? {
        precondition(start >= 0 && start <= payloadLength)
        let at = find(needle, from: layout.payload &+ start)
        return at < 0 ? nil : at &- layout.payload
    }

    @inlinable @inline(__always)
    public func contains(_ needle: Needle, from start: Int = 0) -> Bool {
        firstIndex(of: needle, from: start) != nil
    }

    /// Where the first of two strings occurs in the payload, in one pass over it; nil when
    /// neither does.
    @inlinable @inline(__always)
    public func firstIndex(of a: Needle, or b: Needle) -> (index: Int, isSecond: Bool)? {
        // Sound: as find.
        let found = unsafe sluice_find_either(
            UnsafePointer(view.pointer(layout.payload).assumingMemoryBound(to: UInt8.self)),
            payloadLength, a.start, a.count, b.start, b.count)
        return found.at < 0 ? nil : (found.at, found.which != 0)
    }

    /// The offset of the next occurrence at or after `offset`, or -1.
    @inlinable @inline(__always)
    func find(_ needle: Needle, from offset: Int) -> Int {
        // Sound: [payload, payloadEnd) was guarded by the parser, and offset lies within it.
        let at = unsafe sluice_find(
            UnsafePointer(view.pointer(offset).assumingMemoryBound(to: UInt8.self)),
            layout.payloadEnd &- offset, needle.start, needle.count)
        return at < 0 ? -1 : offset &+ at
    }

    // ---- Changes.

    /// Replaces a range of the payload by other bytes, of any number, and repairs all lengths and
    /// checksums. False = the packet is unchanged: there is no room within the MTU; or the bytes
    /// of a fragment, or of a packet whose checksum says that it is damaged, were to change, or
    /// the length of TCP.
    ///
    /// - Precondition: the range lies within the payload.
    public mutating func replace(_ range: Range<Int>, with bytes: Span<UInt8>) -> Bool {
        // On a copy, as replaceAll.
        var rewrite = unsafe PacketRewrite(
            base: base, room: room, layout: layout, facts: facts, space: space,
            isRewritten: rewritten)
        let isDone = unsafe bytes.withUnsafeBufferPointer { buffer in
            unsafe rewrite.replace(range, with: buffer)
        }
        layout = rewrite.layout
        rewritten = rewrite.isRewritten
        return isDone
    }

    /// As the other `replace`, with a literal.
    public mutating func replace(_ range: Range<Int>, with text: StaticString) -> Bool {
        // Sound: a literal lives as long as the process.
        unsafe replace(
            range, with: Span(_unsafeStart: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    /// Replaces every occurrence of `needle` from `start` on, left to right, not overlapping, not
    /// searching what was put in, and repairs all lengths and checksums. Fragments, and TCP unless
    /// both strings are equally long, are left alone (`absent`).
    @inlinable @inline(__always)
    public mutating func replaceAll(
        _ needle: Needle, with replacement: Needle, from start: Int = 0
    ) -> ReplaceOutcome {
        // On a copy: a packet whose address went out of sight would have to lie in memory whole,
        // for all the packets that are not rewritten.
        var rewrite = unsafe PacketRewrite(
            base: base, room: room, layout: layout, facts: facts, space: space,
            isRewritten: rewritten)
        let outcome = rewrite.replaceAll(needle, with: replacement, from: start)
        layout = rewrite.layout
        rewritten = rewrite.isRewritten
        return outcome
    }

    /// Puts a number into the payload, in network byte order, at this offset. False = the packet is
    /// unchanged: those bytes are not all there, or it is one that `replace` refuses.
    public mutating func write(u8 value: UInt8, at offset: Int) -> Bool { put(value, offset) }
    public mutating func write(u16 value: UInt16, at offset: Int) -> Bool { put(value, offset) }
    public mutating func write(u32 value: UInt32, at offset: Int) -> Bool { put(value, offset) }
    public mutating func write(u64 value: UInt64, at offset: Int) -> Bool { put(value, offset) }

    private mutating func put(_ value: some FixedWidthInteger, _ offset: Int) -> Bool {
        let count = value.bitWidth / 8
        guard offset >= 0, offset <= payloadLength &- count else { return false }
        // Sound: the bytes lie on the stack while they are copied.
        return unsafe withUnsafeBytes(of: value.bigEndian) { bytes in
            unsafe replace(
                offset..<offset &+ count,
                with: Span(_unsafeElements: bytes.bindMemory(to: UInt8.self)))
        }
    }
}
