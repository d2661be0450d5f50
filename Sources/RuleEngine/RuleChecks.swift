import Dataplane
import Wire

extension CompiledPolicy {
    /// What the rows do not say.
    func holds(
        _ rule: CompiledRule, _ packet: borrowing Packet, _ flow: RuleFlow,
        _ direction: FlowDirection
    ) -> Bool {
        if let wanted = rule.flow, !wanted.contains(flow.state(of: packet, direction)) {
            return false
        }
        if rule.sampleEvery > 0, flow.packets % rule.sampleEvery != 0 { return false }
        if let icmp = rule.icmp, !icmp.holds(packet) { return false }
        guard !rule.asks.isDisjoint(with: [.lengths, .header, .refusedICMP]) else { return true }
        if rule.asks.contains(.lengths), !isAnyLength(rule.lengths, packet.length) { return false }
        if rule.asks.contains(.refusedICMP),
            refusedICMP[Int(rule.refusedICMP.first)].holds(packet)
        {
            return false
        }
        return !rule.asks.contains(.header) || areHeaderFieldsHeld(rule.headerChecks, packet)
    }

    private func areHeaderFieldsHeld(
        _ slice: CompiledRule.Slice, _ packet: borrowing Packet
    ) -> Bool {
        for i in Int(slice.first)..<Int(slice.end) where !headerChecks[i].holds(packet) {
            return false
        }
        return true
    }

    private func isAnyLength(_ slice: CompiledRule.Slice, _ length: Int) -> Bool {
        for i in Int(slice.first)..<Int(slice.end)
        where Int(lengths[i].lowest) <= length && length <= Int(lengths[i].highest) {
            return true
        }
        return false
    }
}

extension Match.ICMP {
    fileprivate func holds(_ packet: borrowing Packet) -> Bool {
        guard let header = packet.icmp else { return false }
        if let types, !types.contains(header.type) { return false }
        if let codes, !codes.contains(header.code) { return false }
        guard let sequenceEvery else { return true }
        // Only echo messages carry a sequence number (RFC 792, RFC 4443 §4).
        let isEcho =
            packet.version == 4
            ? header.type == ICMPHeader.echoRequest || header.type == ICMPHeader.echoReply
            : header.type == ICMPHeader.echoRequestV6 || header.type == ICMPHeader.echoReplyV6
        return isEcho && header.sequence % sequenceEvery == 0
    }
}
