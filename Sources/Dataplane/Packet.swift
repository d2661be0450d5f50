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
    @usableFromInline var layout: PacketLayout
    @usableFromInline let facts: FrameFacts
    @usableFromInline let mtu: Int
    @usableFromInline let checksumPolicy: PathSettings.ChecksumPolicy
    /// At least as long as the slot: where a payload waits while it is written anew.
    @usableFromInline let scratch: UnsafeMutableRawPointer
    @usableFromInline var rewritten: Bool
    /// A rewrite happened.
    @inlinable public var isRewritten: Bool { rewritten }

    /// Not parsed yet: the worker fills the layout.
    ///
    /// - Parameter scratch: memory of at least `view.count` bytes that outlives the packet.
    @unsafe @_lifetime(copy view) @inlinable @inline(__always)
    init(
        _ view: PacketView, facts: FrameFacts, settings: PathSettings,
        scratch: UnsafeMutableRawPointer
    ) {
        unsafe base = view.pointer(0)
        room = view.count
        layout = PacketLayout()
        rewritten = false
        self.facts = facts
        mtu = settings.mtu
        checksumPolicy = settings.verifyOuterChecksum
        unsafe self.scratch = unsafe scratch
    }

    /// Bytes from the outer IPv4 header on, with the room to grow.
    @inlinable
    var view: PacketView {
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
    /// The GWLB endpoint's id.
    @inlinable public var endpoint: UInt64 { layout.options.endpoint }
    @inlinable public var isFragment: Bool { layout.isFragment }
    @inlinable public var isLaterFragment: Bool { layout.isLaterFragment }
    /// TCP flags (RFC 9293 §3.1), or 0.
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

    /// A byte of the payload. - Precondition: index < payloadLength.
    @inlinable
    public func payloadByte(_ index: Int) -> UInt8 {
        precondition(index >= 0 && index < payloadLength)
        return view.u8(layout.payload &+ index)
    }

    /// The ICMP or ICMPv6 header; nil for other protocols, later fragments and short packets.
    @inlinable
    public var icmp: ICMPHeader? {
        guard layout.protocolNumber == (layout.version == 4 ? IPProtocol.icmp : IPProtocol.icmpv6),
            !layout.isLaterFragment, layout.innerEnd &- layout.transport >= ICMPHeader.length
        else { return nil }
        return ICMPHeader(view, at: layout.transport)
    }

    /// Where `needle` first occurs in the payload; nil when it does not.
    @inlinable
    public func firstIndex(of needle: Needle) -> Int? {
        let at = find(needle, from: layout.payload)
        return at < 0 ? nil : at &- layout.payload
    }

    @inlinable
    public func contains(_ needle: Needle) -> Bool { find(needle, from: layout.payload) >= 0 }

    /// The offset of the next occurrence at or after `offset`, or -1.
    @inlinable
    func find(_ needle: Needle, from offset: Int) -> Int {
        // Sound: [payload, payloadEnd) was guarded by the parser, and offset lies within it.
        let at = unsafe sluice_find(
            UnsafePointer(view.pointer(offset).assumingMemoryBound(to: UInt8.self)),
            layout.payloadEnd &- offset, needle.start, needle.count)
        return at < 0 ? -1 : offset &+ at
    }

    // ---- Changes.

    /// Replaces every occurrence of `needle`, left to right, not overlapping, not searching what
    /// was put in, and repairs all lengths and checksums. Fragments, and TCP unless both strings
    /// are equally long, are left alone (`absent`).
    public mutating func replaceAll(_ needle: Needle, with replacement: Needle) -> ReplaceOutcome {
        let growth = replacement.count - needle.count
        guard needle.count > 0, layout.isRewritable,
            growth == 0 || layout.protocolNumber == IPProtocol.udp
        else { return .absent }
        let first = find(needle, from: layout.payload)
        guard first >= 0 else { return .absent }
        if let reason = reasonNotToRewrite() { return .refused(reason) }
        let occurrences = count(needle, from: first)
        let newEnd = layout.innerEnd + occurrences * growth
        guard growth <= 0 || newEnd - layout.inner <= mtu, newEnd <= view.count, newEnd <= 0xFFFF
        else {
            return .refused(.tooBig)
        }
        rewrite(from: first, growth: occurrences * growth) { packet in
            packet.writeReplaced(needle, with: replacement, from: first)
        }
        return .replaced(occurrences)
    }

    private func count(_ needle: Needle, from first: Int) -> Int {
        var occurrences = 0
        var at = first
        while at >= 0 {
            occurrences += 1
            at = find(needle, from: at + needle.count)
        }
        return occurrences
    }

    /// A packet with a wrong inner IPv4 header checksum is never rewritten; one with a wrong
    /// outer UDP checksum neither, unless the policy is not to look.
    private func reasonNotToRewrite() -> DropReason? {
        if layout.version == 4 {
            let length = Int(view.u8(layout.inner) & 0x0F) * 4
            if !IPv4Header.verifyChecksum(view, at: layout.inner, length: length) {
                return .innerHeaderChecksum
            }
        }
        if checksumPolicy == .rewrites, !isRewritten, !facts.contains(.checksumVerified),
            !layout.verifiesOuterChecksum(view)
        {
            return .outerChecksum
        }
        return nil
    }

    /// Writes the payload from `first` on anew, from a copy in the scratch memory.
    private mutating func writeReplaced(
        _ needle: Needle, with replacement: Needle, from first: Int
    ) {
        let oldEnd = layout.innerEnd
        // Sound: scratch is as long as the view; the caller has checked that the result fits.
        unsafe sluice_copy(scratch, view.pointer(first), oldEnd - first)
        let copy = unsafe UnsafePointer(scratch.assumingMemoryBound(to: UInt8.self))
        let searchable = layout.payloadEnd - first
        var from = 0
        var to = first
        while true {
            let at = unsafe sluice_find(
                copy + from, searchable - from, needle.start, needle.count)
            // What lies behind the last occurrence goes along, up to the end of the packet.
            let kept = at < 0 ? oldEnd - first - from : at
            unsafe sluice_copy(view.pointer(to), copy + from, kept)
            to += kept
            guard at >= 0 else { return }
            unsafe sluice_copy(view.pointer(to), replacement.start, replacement.count)
            to += replacement.count
            from += at + needle.count
        }
    }

    /// Makes a change of the payload from `first` on, by `growth` bytes, and repairs lengths and
    /// checksums incrementally (RFC 1624 equation 3): take the sum of what changes away, add the
    /// sum of what it became.
    private mutating func rewrite(
        from first: Int, growth: Int, _ change: (inout Packet) -> Void
    ) {
        // Inner transport and outer UDP header start an even number of bytes apart, so a byte
        // has the same parity in both sums.
        let isOdd = (first - layout.transport) & 1 != 0
        let updatesOuter =
            !facts.contains(.checksumOnTransmit) && view.u16(layout.outerHeader + 6) != 0
        var oldOuter = InternetChecksum()
        if updatesOuter { oldOuter.add(view, from: first, to: layout.outerEnd, isOdd: isOdd) }
        var oldInner = InternetChecksum()
        oldInner.add(view, from: first, to: layout.payloadEnd, isOdd: isOdd)

        change(&self)
        layout.payloadEnd += growth
        layout.innerEnd += growth
        layout.outerEnd = layout.innerEnd  // trailing bytes are trimmed

        var newInner = InternetChecksum()
        newInner.add(view, from: first, to: layout.payloadEnd, isOdd: isOdd)
        var newOuter = InternetChecksum()
        if updatesOuter { newOuter.add(view, from: first, to: layout.outerEnd, isOdd: isOdd) }

        var edit = HeaderEdit(old: oldOuter, new: newOuter)
        repairInner(&edit, removing: oldInner, adding: newInner)
        repairOuter(edit, updatesChecksum: updatesOuter)
        rewritten = true
    }

    private func repairInner(
        _ edit: inout HeaderEdit, removing old: InternetChecksum, adding new: InternetChecksum
    ) {
        var old = old
        var new = new
        if layout.protocolNumber == IPProtocol.udp {
            let lengthField = layout.transport + 4
            let length = UInt16(truncatingIfNeeded: layout.payloadEnd - layout.transport)
            // The length stands in the UDP header and in the pseudo-header.
            for _ in 0..<2 {
                old.add(view.u16(lengthField))
                new.add(length)
            }
            edit.set(view, lengthField, length)
            let field = layout.transport + 6
            let checksum = view.u16(field)
            edit.set(
                view, field, InternetChecksum.updateUDP(checksum, removing: old, adding: new))
        } else {
            let field = layout.transport + 16
            let checksum = view.u16(field)
            edit.set(view, field, InternetChecksum.update(checksum, removing: old, adding: new))
        }
        repairInnerLength(&edit)
    }

    private func repairInnerLength(_ edit: inout HeaderEdit) {
        guard layout.version == 4 else {
            let length = layout.innerEnd - layout.inner - IPv6Header.length
            return edit.set(view, layout.inner + 4, UInt16(truncatingIfNeeded: length))
        }
        let length = UInt16(truncatingIfNeeded: layout.innerEnd - layout.inner)
        var header = HeaderEdit()
        header.set(view, layout.inner + 2, length)
        edit.old.add(header.old)
        edit.new.add(header.new)
        let checksum = view.u16(layout.inner + 10)
        edit.set(
            view, layout.inner + 10,
            InternetChecksum.update(checksum, removing: header.old, adding: header.new))
    }

    private func repairOuter(_ edit: HeaderEdit, updatesChecksum: Bool) {
        let udpLength = UInt16(truncatingIfNeeded: layout.outerEnd - layout.outerHeader)
        var udp = edit
        // As inside: header and pseudo-header.
        udp.old.add(view.u16(layout.outerHeader + 4))
        udp.new.add(udpLength)
        udp.set(view, layout.outerHeader + 4, udpLength)
        if updatesChecksum {
            let checksum = view.u16(layout.outerHeader + 6)
            view.set16(
                layout.outerHeader + 6,
                InternetChecksum.updateUDP(checksum, removing: udp.old, adding: udp.new))
        }
        var ip = HeaderEdit()
        ip.set(view, 2, UInt16(truncatingIfNeeded: layout.outerEnd))
        view.set16(
            10, InternetChecksum.update(view.u16(10), removing: ip.old, adding: ip.new))
    }
}

/// The sums of header fields before and after they were set.
struct HeaderEdit {
    var old = InternetChecksum()
    var new = InternetChecksum()

    mutating func set(_ view: PacketView, _ offset: Int, _ value: UInt16) {
        old.add(view.u16(offset))
        new.add(value)
        view.set16(offset, value)
    }
}

extension InternetChecksum {
    /// Adds [start, end), which begins at an even or odd offset of what is summed.
    mutating func add(_ view: PacketView, from start: Int, to end: Int, isOdd: Bool) {
        if isOdd {
            addAtOdd(view, at: start, count: end - start)
        } else {
            add(view, at: start, count: end - start)
        }
    }
}
