import CSluice
import PacketIO
import Wire

/// A change of one packet's payload, with the repair of every length and checksum.
@safe @usableFromInline struct PacketRewrite {
    @usableFromInline let base: UnsafeMutableRawPointer
    @usableFromInline let room: Int
    @usableFromInline var layout: PacketLayout
    @usableFromInline let facts: FrameFacts
    @usableFromInline let space: RewriteSpace
    @usableFromInline var isRewritten: Bool

    @unsafe @inlinable @inline(__always)
    init(
        base: UnsafeMutableRawPointer, room: Int, layout: PacketLayout, facts: FrameFacts,
        space: RewriteSpace, isRewritten: Bool
    ) {
        unsafe self.base = unsafe base
        self.room = room
        self.layout = layout
        self.facts = facts
        self.space = space
        self.isRewritten = isRewritten
    }

    /// Lives within one call of `Packet.replaceAll`.
    private var view: PacketView {
        @_lifetime(borrow self) get {
            // Sound: both are a packet's.
            unsafe PacketView(unsafeBase: base, count: room)
        }
    }

    /// See Packet.
    @usableFromInline
    mutating func replaceAll(
        _ needle: Needle, with replacement: Needle, from start: Int
    ) -> ReplaceOutcome {
        precondition(start >= 0 && start <= layout.payloadEnd - layout.payload)
        let growth = replacement.count - needle.count
        guard needle.count > 0, layout.isRewritable,
            growth == 0 || layout.protocolNumber == IPProtocol.udp
        else { return .absent }
        let first = find(needle, from: layout.payload + start)
        guard first >= 0 else { return .absent }
        if let reason = reasonNotToRewrite() { return .refused(reason) }
        let occurrences = noteOccurrences(of: needle, from: first)
        guard hasRoom(growth: occurrences * growth) else { return .refused(.tooBig) }
        rewrite(Substitution(needle, replacement, count: occurrences))
        return .replaced(occurrences)
    }

    /// See Packet. - Parameter bytes: lie outside the packet.
    mutating func replace(_ range: Range<Int>, with bytes: UnsafeBufferPointer<UInt8>) -> Bool {
        precondition(
            range.lowerBound >= 0 && range.upperBound <= layout.payloadEnd - layout.payload)
        let growth = bytes.count - range.count
        guard layout.isRewritable, growth == 0 || layout.protocolNumber == IPProtocol.udp,
            hasRoom(growth: growth), reasonNotToRewrite() == nil
        else { return false }
        let at = layout.payload + range.lowerBound
        // Sound: both lie in memory that outlives this call: the packet's, and what the caller
        // lends. An empty one is nowhere read.
        let old = unsafe Needle(
            unsafeStart: UnsafePointer(view.pointer(at).assumingMemoryBound(to: UInt8.self)),
            count: range.count)
        let new = unsafe Needle(
            unsafeStart: bytes.baseAddress ?? old.start, count: bytes.count)
        space.note(at, at: 0)
        rewrite(Substitution(old, new, count: 1))
        return true
    }

    private func hasRoom(growth: Int) -> Bool {
        let newEnd = layout.innerEnd + growth
        return (growth <= 0 || newEnd - layout.inner <= space.mtu) && newEnd <= view.count
            && newEnd <= 0xFFFF
    }

    /// The offset of the next occurrence at or after `offset`, or -1.
    private func find(_ needle: Needle, from offset: Int) -> Int {
        // Sound: [payload, payloadEnd) was guarded by the parser, and offset lies within it.
        let at = unsafe sluice_find(
            UnsafePointer(view.pointer(offset).assumingMemoryBound(to: UInt8.self)),
            layout.payloadEnd - offset, needle.start, needle.count)
        return at < 0 ? -1 : offset + at
    }

    /// Notes where `needle` occurs, and says how often.
    private func noteOccurrences(of needle: Needle, from first: Int) -> Int {
        var count = 0
        var at = first
        while at >= 0 {
            space.note(at, at: count)
            count += 1
            at = find(needle, from: at + needle.count)
        }
        return count
    }

    /// Where the noted occurrence stands; behind the last one stands the end of the packet.
    private func occurrence(_ index: Int, of change: Substitution) -> Int {
        index < change.count ? space.offset(at: index) : layout.innerEnd
    }

    /// A packet with a wrong inner IPv4 header checksum is never rewritten, nor is a UDP datagram
    /// without a length (RFC 2675 §4); one with a wrong outer UDP checksum neither, unless the policy
    /// is not to look.
    private func reasonNotToRewrite() -> DropReason? {
        if layout.protocolNumber == IPProtocol.udp, view.u16(layout.transport + 4) == 0 {
            return .innerMalformed
        }
        if layout.version == 4 {
            let length = Int(view.u8(layout.inner) & 0x0F) * 4
            if !IPv4Header.verifyChecksum(view, at: layout.inner, length: length) {
                return .innerHeaderChecksum
            }
        }
        if space.checksumPolicy == .rewrites, !isRewritten, !facts.contains(.checksumVerified),
            !PacketLayout.verifyOuterChecksum(
                view, from: layout.outerHeader, to: layout.outerEnd)
        {
            return .outerChecksum
        }
        return nil
    }

    /// Makes the change and repairs lengths and checksums incrementally (RFC 1624 equation 3):
    /// take the sum of what goes away, add the sum of what comes.
    private mutating func rewrite(_ change: Substitution) {
        let updatesOuter =
            !facts.contains(.checksumOnTransmit) && view.u16(layout.outerHeader + 6) != 0
        let payload = payloadEdit(change)
        var outer = payload
        // Behind the payload: what moves along, and what is trimmed.
        outer.move(
            view, layout.payloadEnd, layout.innerEnd, by: change.count * change.growth,
            isOdd: isOdd(layout.payloadEnd))
        if updatesOuter, layout.innerEnd < layout.outerEnd {
            outer.old.add(
                view, from: layout.innerEnd, to: layout.outerEnd, isOdd: isOdd(layout.innerEnd))
        }

        substitute(change)
        layout.payloadEnd += change.count * change.growth
        layout.innerEnd += change.count * change.growth
        layout.outerEnd = layout.innerEnd  // trailing bytes are trimmed

        repairInner(&outer, payload)
        repairOuter(outer, updatesChecksum: updatesOuter)
        isRewritten = true
    }

    /// Inner transport and outer UDP header start an even number of bytes apart, so a byte has
    /// the same parity in both sums.
    private func isOdd(_ offset: Int) -> Bool { (offset - layout.transport) & 1 != 0 }

    /// What the change does to the sum of the payload.
    private func payloadEdit(_ change: Substitution) -> ChecksumEdit {
        var edit = ChecksumEdit()
        for i in 0..<change.count {
            let at = occurrence(i, of: change)
            edit.old.add(change.needleSum, isOdd: isOdd(at))
            edit.new.add(change.replacementSum, isOdd: isOdd(at + i * change.growth))
            let kept = at + change.needle.count
            edit.move(
                view, kept, min(occurrence(i + 1, of: change), layout.payloadEnd),
                by: (i + 1) * change.growth, isOdd: isOdd(kept))
        }
        return edit
    }

    /// Writes the replacements, and moves what stands between them: from the end on when the
    /// packet grows, from the start on when it shrinks, so that nothing is overwritten unread.
    private func substitute(_ change: Substitution) {
        for step in 0..<change.count {
            let i = change.growth > 0 ? change.count - 1 - step : step
            let at = occurrence(i, of: change)
            let kept = at + change.needle.count
            // Sound: the caller has checked that the grown packet fits into the view.
            if change.growth != 0 {
                unsafe sluice_move(
                    view.pointer(kept + (i + 1) * change.growth), view.pointer(kept),
                    occurrence(i + 1, of: change) - kept)
            }
            unsafe sluice_copy(
                view.pointer(at + i * change.growth), change.replacement.start,
                change.replacement.count)
        }
    }

    private func repairInner(_ edit: inout ChecksumEdit, _ payload: ChecksumEdit) {
        var old = payload.old
        var new = payload.new
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

    private func repairInnerLength(_ edit: inout ChecksumEdit) {
        guard layout.version == 4 else {
            let length = layout.innerEnd - layout.inner - IPv6Header.length
            return edit.set(view, layout.inner + 4, UInt16(truncatingIfNeeded: length))
        }
        let length = UInt16(truncatingIfNeeded: layout.innerEnd - layout.inner)
        var header = ChecksumEdit()
        header.set(view, layout.inner + 2, length)
        edit.old.add(header.old)
        edit.new.add(header.new)
        let checksum = view.u16(layout.inner + 10)
        edit.set(
            view, layout.inner + 10,
            InternetChecksum.update(checksum, removing: header.old, adding: header.new))
    }

    private func repairOuter(_ edit: ChecksumEdit, updatesChecksum: Bool) {
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
        var ip = ChecksumEdit()
        ip.set(view, 2, UInt16(truncatingIfNeeded: layout.outerEnd))
        view.set16(
            10, InternetChecksum.update(view.u16(10), removing: ip.old, adding: ip.new))
    }
}

/// All occurrences of one string, to be replaced by another.
private struct Substitution {
    let needle: Needle
    let replacement: Needle
    /// Bytes by which each occurrence grows.
    let growth: Int
    /// Occurrences.
    let count: Int
    let needleSum: InternetChecksum
    let replacementSum: InternetChecksum

    init(_ needle: Needle, _ replacement: Needle, count: Int) {
        self.needle = needle
        self.replacement = replacement
        self.count = count
        growth = replacement.count - needle.count
        needleSum = needle.sum
        replacementSum = replacement.sum
    }
}

extension Needle {
    fileprivate var sum: InternetChecksum {
        var sum = InternetChecksum()
        // Sound: a needle has `count` bytes.
        unsafe sum.add(UnsafeRawPointer(start), count: count)
        return sum
    }
}

/// The sums of bytes before and after they were changed.
private struct ChecksumEdit {
    var old = InternetChecksum()
    var new = InternetChecksum()

    /// Sets a header field.
    mutating func set(_ view: PacketView, _ offset: Int, _ value: UInt16) {
        old.add(view.u16(offset))
        new.add(value)
        view.set16(offset, value)
    }

    /// [start, end) will move. By an even number of bytes it keeps its sum; by an odd one that is
    /// byte-swapped (RFC 1071 §2(B)).
    mutating func move(_ view: PacketView, _ start: Int, _ end: Int, by shift: Int, isOdd: Bool) {
        guard shift & 1 != 0, start < end else { return }
        old.add(view, from: start, to: end, isOdd: isOdd)
        new.add(view, from: start, to: end, isOdd: !isOdd)
    }
}

extension InternetChecksum {
    /// Adds [start, end), which begins at an even or odd offset of what is summed.
    fileprivate mutating func add(
        _ view: PacketView, from start: Int, to end: Int, isOdd: Bool
    ) {
        if isOdd {
            addAtOdd(view, at: start, count: end - start)
        } else {
            add(view, at: start, count: end - start)
        }
    }

    fileprivate mutating func add(_ part: InternetChecksum, isOdd: Bool) {
        if isOdd { addAtOdd(part) } else { add(part) }
    }
}
