import Dataplane

/// Finds the rules that match a packet.
extension CompiledPolicy {
    /// Collects the rules that match the packet, at least up to the first that decides.
    func collect(
        _ packet: borrowing Packet, _ flow: RuleFlow, _ direction: FlowDirection,
        _ worker: Int, _ found: inout RuleSet, _ inPayload: inout PayloadFindings
    ) -> Bool {
        let rows = PacketRows(self, packet)
        var end = ruleCount
        var isSearched = false
        let isWide = summaryCount > 1
        for group in 0..<summaryCount {
            var summary = rows.and(group)
            if isSearched { summary &= selected(group, inPayload) }
            guard summary != 0 else { continue }
            let blocks = isWide ? rows.blocks(summaryCount &+ group) : rows.behindSummary
            while summary != 0 {
                let place = summary.trailingZeroBitCount
                let word = group &<< 6 | place
                summary &= summary &- 1
                var bits = blocks.and(place)
                if !payload.isEmpty {
                    let asking = bits & words[asking(group, isWide) &+ place]
                    if asking != 0 {
                        if !isSearched, isAny(asking, word, before: end) {
                            payload.scan(
                                packet.view, from: packet.layout.payload,
                                to: packet.layout.payloadEnd, worker: worker, &inPayload)
                            isSearched = true
                            summary &= selected(group, inPayload)
                        }
                        bits &= ~asking | inPayload.rules[word]
                    }
                }
                while bits != 0 {
                    let index = Int(order[word &<< 6 | bits.trailingZeroBitCount])
                    bits &= bits &- 1
                    guard index < end else { continue }
                    let rule = rules[index]
                    guard rule.asks.isEmpty || holds(rule, packet, flow, direction) else {
                        continue
                    }
                    found.insert(index)
                    // Whether a limit is exceeded is known only when it is the rule's turn.
                    if rule.terminal != nil, !rule.isDryRun, rule.limit < 0 { end = index }
                }
            }
        }
        if isSearched { inPayload.clear() }
        return !found.isEmpty
    }

    /// The words with rules that ask for no string, or for one that was found.
    @inline(__always)
    private func selected(_ group: Int, _ inPayload: borrowing PayloadFindings) -> UInt64 {
        words[payload.otherRow &+ group] | inPayload.rules.summary(group)
    }

    /// Where the bits of the rules that ask for a payload string begin.
    @inline(__always)
    private func asking(_ group: Int, _ isWide: Bool) -> Int {
        isWide
            ? Int(words[payload.askingRow &+ summaryCount &+ group]) : payload.askingRow &+ 1
    }

    /// One of the rules stands before `end`, which an earlier one has decided.
    @inline(__always)
    private func isAny(_ bits: UInt64, _ word: Int, before end: Int) -> Bool {
        guard end < ruleCount else { return true }
        var bits = bits
        while bits != 0 {
            if Int(order[word &<< 6 | bits.trailingZeroBitCount]) < end { return true }
            bits &= bits &- 1
        }
        return false
    }
}
