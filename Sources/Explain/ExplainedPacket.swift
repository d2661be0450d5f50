import Capture
import Configuration
import Dataplane
import Foundation
import RuleEngine
import Support
import Wire

/// One frame of a capture and what became of it, in values.
struct ExplainedPacket: Encodable {
    struct Match: Encodable {
        var rule: String
        /// Counted only; in earnest it would have done this.
        var dryRun: String?
    }

    struct Rewrite: Encodable {
        /// Inner IP packet, bytes.
        var length: Int
        /// The part of the packet that differs, as it was and as it is.
        var old: String
        var new: String
    }

    var number: Int
    /// Seconds since the first frame.
    var time = 0.0
    var endpoint: String?
    var `protocol`: String?
    var source: String?
    var destination: String?
    /// Inner IP packet, bytes; of a frame that was not judged, the frame's.
    var length: Int
    var fragment: String?
    /// Of TCP, such as syn and ack.
    var tcpFlags: [String]?
    var icmp: PacketWords.ICMP?
    /// forward, drop, or none for a frame that was not judged.
    var verdict: String
    /// A drop reason, or why it was not judged.
    var reason: String?
    /// A later fragment that fared as the first one did.
    var followsFirst: Bool?
    /// Decided.
    var rule: String?
    var matched: [Match] = []
    var rewritten: Rewrite?

    /// One that was not judged.
    init(_ frame: CaptureFrame, _ why: NotJudged) {
        number = frame.number
        length = frame.length
        verdict = "none"
        reason = why.text
    }

    init(
        _ frame: CaptureFrame, _ outer: [UInt8], isGeneve: Bool, _ judgement: Judgement,
        _ rules: [Rule]
    ) {
        number = frame.number
        length = outer.count
        verdict = judgement.reason == nil ? "forward" : "drop"
        reason = judgement.reason?.label
        rule = judgement.decisive.map { rules[$0].name }
        matched = judgement.matched.map { index in
            Match(
                rule: rules[index].name,
                dryRun: rules[index].isDryRun ? ExplainedPacket.action(rules[index]) : nil)
        }
        matched += judgement.own.map { Match(rule: $0) }
        describe(outer, isGeneve: isGeneve)
        if let answer = judgement.answer { noteRewrite(outer, answer) }
    }

    private static func action(_ rule: Rule) -> String {
        let replaces = rule.replacements.isEmpty ? nil : ActionWord.replace
        let words = [replaces, ActionWord.terminal(of: rule)].compactMap { $0 }
        return words.isEmpty
            ? ActionWord.count.rawValue : words.map(\.rawValue).joined(separator: " and ")
    }

    /// As much of the packet as can be read.
    private mutating func describe(_ outer: [UInt8], isGeneve: Bool) {
        var bytes = outer
        let (layout, problem) = withPacketView(&bytes) { PacketLayout.explaining($0) }
        if isGeneve, layout.options.hasEndpoint {
            endpoint = EndpointID.format(layout.options.endpoint)
        }
        guard problem == nil else {
            if layout.inner > 0 { length = outer.count - layout.inner }
            return
        }
        length = layout.innerEnd - layout.inner
        self.protocol = ProtocolNames.name(layout.protocolNumber)
        let hasPorts = layout.hasPorts
        source = PacketWords.end(
            layout.source, hasPorts ? layout.sourcePort : nil, version: layout.version)
        destination = PacketWords.end(
            layout.destination, hasPorts ? layout.destinationPort : nil, version: layout.version)
        if layout.isFragment { fragment = layout.isLaterFragment ? "later" : "first" }
        guard !layout.isLaterFragment else { return }
        if hasPorts, layout.protocolNumber == IPProtocol.tcp {
            tcpFlags = PacketWords.flags(layout.tcpFlags)
        }
        if [IPProtocol.icmp, IPProtocol.icmpv6].contains(layout.protocolNumber),
            layout.transport + 2 <= layout.innerEnd
        {
            icmp = PacketWords.ICMP(
                type: outer[layout.transport], code: outer[layout.transport + 1])
        }
    }

    /// What a rewrite changed beyond lengths and checksums: payload lies at the end, so the common
    /// end of both packets and everything up to the payload are left out.
    private mutating func noteRewrite(_ outer: [UInt8], _ answer: [UInt8]) {
        var (before, after) = (outer, answer)
        guard let old = ExplainedPacket.payload(&before), let new = ExplainedPacket.payload(&after),
            old.bytes != new.bytes
        else { return }
        let same = zip(old.bytes, new.bytes).prefix { $0 == $1 }.count
        let (oldRest, newRest) = (old.bytes.dropFirst(same), new.bytes.dropFirst(same))
        let end = zip(oldRest.reversed(), newRest.reversed()).prefix { $0 == $1 }.count
        rewritten = Rewrite(
            length: new.length, old: Words.quote(Array(oldRest.dropLast(end)), limit: 60),
            new: Words.quote(Array(newRest.dropLast(end)), limit: 60))
    }

    private static func payload(_ outer: inout [UInt8]) -> (bytes: ArraySlice<UInt8>, length: Int)?
    {
        let layout = withPacketView(&outer) { PacketLayout(explaining: $0) }
        return layout.map { (outer[$0.payload..<$0.payloadEnd], $0.innerEnd - $0.inner) }
    }

    // ---- As a line.

    var json: String { JSONText.line(self) }

    /// - Parameter byDefault: what decided where nothing else did.
    func text(byDefault: String) -> String {
        let head = String(format: "%5d  %.6f  ", number, time)
        var what = "\(length) bytes"
        if let source, let destination, let name = self.protocol {
            let header =
                tcpFlags.map { [$0.joined(separator: " ").uppercased()] }
                ?? icmp.map { ["type \($0.type) code \($0.code)"] } ?? []
            what =
                "\(name) \(source) -> \(destination)"
                + "\(header.map { " [\($0)]" }.joined()), \(length) bytes"
            if let fragment { what += ", \(fragment) fragment" }
        }
        let place = endpoint.map { "\($0)  " } ?? ""
        return "\(head)\(place)\(what): \(outcome(byDefault))"
    }

    private func outcome(_ byDefault: String) -> String {
        guard verdict != "none" else { return "not judged: \(reason ?? "")" }
        var text = verdict
        if let rule {
            text +=
                reason == nil || reason == "rule"
                ? " by rule \(rule)" : ": \(reason ?? ""), rule \(rule)"
        } else if let reason, reason != "default" {
            text += ": \(reason)\(followsFirst == true ? ", as its first" : "")"
        } else if followsFirst == true {
            text += ", as its first"
        } else {
            text += byDefault
        }
        let others = matched.filter { $0.rule != rule }.map { match in
            match.rule + (match.dryRun.map { " (dry run: would \($0))" } ?? "")
        }
        if !others.isEmpty { text += "; matched \(others.joined(separator: ", "))" }
        if let rewritten {
            text += "; rewritten to \(rewritten.length) bytes: \(rewritten.old) -> \(rewritten.new)"
        }
        return text
    }
}
