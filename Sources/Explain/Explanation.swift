import Capture
import Configuration
import Dataplane
import Foundation
import RuleEngine
import Support
import Wire

/// `sluice check --explain`: the packets of a capture, judged by the policy of a config file.
public enum Explanation {
    /// Bytes before the inner packet that a plain one is given.
    private static let overhead = Encapsulation.overhead

    /// Writes a line for every frame of the capture, then a summary.
    ///
    /// - Parameters:
    ///   - asJSON: one JSON object a line.
    ///   - processor: what the program runs; of a chain the rules alone are asked.
    ///   - write: takes a line.
    /// - Throws: `ConfigErrors` for the file; `Failure` for the capture, after everything that could
    ///   be read has been written.
    public static func write(
        config path: String, capture capturePath: String, asJSON: Bool,
        for processor: ProcessorShape = ProcessorShape(Rules.self), _ write: (String) -> Void
    ) throws {
        guard processor.hasRules else {
            throw Failure(.usage, "--explain tells what rules do, and this program has none")
        }
        var configuration = try ConfigFile.read(path, for: processor)
        let capture: CaptureFile
        do {
            capture = try CaptureFile(path: capturePath, mayBeEmpty: true)
        } catch {
            throw Failure(.usage, "--explain: \(error)")
        }
        let isGeneve = capture.frames.contains { frame in
            if case .geneve = frame.content { true } else { false }
        }
        // Plain packets come from no gateway.
        if !isGeneve { configuration.run.allowedSources = [] }
        var judge = try CaptureJudge(configuration, packets: capture.frames.count)
        let rules = configuration.policy.rules
        var summary = ExplainSummary(rules: rules)
        let start = capture.frames.first?.time ?? 0
        for frame in capture.frames {
            let packet = ExplainedPacket(
                frame, capture, isGeneve: isGeneve, start: start, rules, &judge)
            summary.count(packet)
            write(asJSON ? packet.json : packet.text)
        }
        if asJSON { write(summary.json) } else { summary.text.forEach(write) }
        guard !capture.isCutShort else {
            throw Failure(
                .usage,
                "--explain: \(capturePath): ends within record \(capture.frames.count + 1): "
                    + "what stands before it was judged")
        }
    }

    /// The outer packet to judge, or why there is none.
    static func outer(
        _ frame: CaptureFile.Frame, _ capture: CaptureFile, isGeneve: Bool
    ) -> Result<[UInt8], NotJudged> {
        switch frame.content {
        case .geneve(let packet):
            let bytes = Array(capture.bytes(of: packet))
            return bytes[0] >> 4 == 4 ? .success(bytes) : .failure(.outerIPv6)
        case .plain(let packet):
            guard !isGeneve else { return .failure(.beside) }
            guard packet.count <= Int(UInt16.max) - overhead else { return .failure(.tooLong) }
            let inner = Array(capture.bytes(of: packet))
            // 192.0.2.1 to 192.0.2.2, which are for documentation (RFC 5737).
            let header = GatewayHeader(
                node: 0xC000_0201, target: 0xC000_0202, sourcePort: 49_152, endpoint: 0, cookie: 0,
                innerVersion: inner[0] >> 4)
            return .success(Encapsulation.packet(header, inner: inner, checksum: .zero))
        case .skipped(let reason): return .failure(NotJudged(reason))
        }
    }
}

/// Why a frame was not judged.
enum NotJudged: String, Error {
    case notIP = "not IP"
    case truncated = "captured in part only (see tcpdump -s 0)"
    case malformed = "an empty frame"
    case outerFragment = "an outer fragment: the kernel would put it together first"
    case returned = "on its way back from the appliance"
    case outerIPv6 = "Geneve over IPv6, which no gateway load balancer sends"
    case beside = "not Geneve, and not for the packet path"
    case tooLong = "too long for Geneve"

    init(_ reason: CaptureFile.Reason) {
        switch reason {
        case .notIP: self = .notIP
        case .truncated: self = .truncated
        case .malformed: self = .malformed
        case .outerFragment: self = .outerFragment
        case .returned: self = .returned
        }
    }
}
