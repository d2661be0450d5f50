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
    var time: Double
    var endpoint: String?
    var `protocol`: String?
    var source: String?
    var destination: String?
    /// Inner IP packet, bytes; of a frame that was not judged, the frame's.
    var length: Int
    var fragment: String?
    /// forward, drop, or none for a frame that was not judged.
    var verdict: String
    /// A drop reason, or why it was not judged.
    var reason: String?
    /// Decided.
    var rule: String?
    var matched: [Match] = []
    var rewritten: Rewrite?

    init(
        _ frame: CaptureFile.Frame, _ capture: CaptureFile, isGeneve: Bool, start: UInt64,
        _ rules: [Rule], _ judge: inout CaptureJudge
    ) {
        number = frame.number
        time = Double(Int64(bitPattern: frame.time &- start)) / 1e9
        switch Explanation.outer(frame, capture, isGeneve: isGeneve) {
        case .failure(let why):
            length = frame.length
            verdict = "none"
            reason = why.rawValue
        case .success(let outer):
            let judgement = judge.judge(outer, at: frame.time)
            length = outer.count
            verdict = judgement.reason == nil ? "forward" : "drop"
            reason = judgement.reason?.label
            rule = judgement.decisive.map { rules[$0].name }
            matched = judgement.matched.map { index in
                Match(
                    rule: rules[index].name,
                    dryRun: rules[index].isDryRun ? ExplainedPacket.action(rules[index]) : nil)
            }
            describe(outer, isGeneve: isGeneve)
            if let answer = judgement.answer { noteRewrite(outer, answer) }
        }
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
        var settings = PathSettings()
        settings.requireAWSOptions = false
        let (layout, problem) = withPacketView(&bytes) { view in
            var layout = PacketLayout()
            let problem = layout.parse(view, facts: [.headerVerified], settings: settings)
            return (layout, problem)
        }
        if isGeneve, layout.options.hasEndpoint {
            endpoint = EndpointID.format(layout.options.endpoint)
        }
        guard problem == nil else {
            if layout.inner > 0 { length = outer.count - layout.inner }
            return
        }
        length = layout.innerEnd - layout.inner
        self.protocol = ProtocolNames.name(layout.protocolNumber)
        source = ExplainedPacket.end(layout.source, layout.sourcePort, layout)
        destination = ExplainedPacket.end(layout.destination, layout.destinationPort, layout)
        if layout.isFragment { fragment = layout.isLaterFragment ? "later" : "first" }
    }

    private static func end(
        _ address: IPv6Address, _ port: UInt16, _ layout: PacketLayout
    ) -> String {
        let isIPv6 = layout.version == 6
        let text = AddressText.format(
            UInt128(address.high) << 64 | UInt128(address.low), isIPv6: isIPv6)
        guard layout.hasPorts else { return text }
        return isIPv6 ? "[\(text)]:\(port)" : "\(text):\(port)"
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
        var settings = PathSettings()
        settings.requireAWSOptions = false
        settings.keepsOuterTTL = true
        let layout = withPacketView(&outer) { view -> PacketLayout? in
            var layout = PacketLayout()
            // An answer's addresses are swapped: its sum is the same.
            return layout.parse(view, facts: [.headerVerified], settings: settings) == nil
                ? layout : nil
        }
        return layout.map { (outer[$0.payload..<$0.payloadEnd], $0.innerEnd - $0.inner) }
    }

    // ---- As a line.

    var json: String { JSONText.line(self) }

    var text: String {
        let head = String(format: "%5d  %.6f  ", number, time)
        var what = "\(length) bytes"
        if let source, let destination, let name = self.protocol {
            what = "\(name) \(source) -> \(destination), \(length) bytes"
            if let fragment { what += ", \(fragment) fragment" }
        }
        let place = endpoint.map { "\($0)  " } ?? ""
        return "\(head)\(place)\(what): \(outcome)"
    }

    private var outcome: String {
        guard verdict != "none" else { return "not judged: \(reason ?? "")" }
        var text = verdict
        if let rule {
            text +=
                reason == nil || reason == "rule"
                ? " by rule \(rule)" : ": \(reason ?? ""), rule \(rule)"
        } else if let reason, reason != "default" {
            text += ": \(reason)"
        } else {
            text += " by default"
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
