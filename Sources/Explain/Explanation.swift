import Capture
import Configuration
import Dataplane
import Foundation
import RuleEngine
import Support
import Wire

/// `sluice check --explain`: the packets of a capture, judged by the policy of a config file.
public struct Explanation {
    private let overview: CaptureOverview
    private let configuration: Configuration
    private let judge: any PacketJudge
    private var summary: ExplainSummary
    private var fragments = FirstFragments()
    /// The first frame's time.
    private var start: UInt64?

    /// Writes a line for every frame of the capture, then a summary.
    ///
    /// - Parameters:
    ///   - asJSON: one JSON object a line.
    ///   - processor: what the program runs: all of a chain is asked.
    ///   - write: takes a line.
    /// - Throws: `ConfigErrors` for the file; `Failure` for the capture, after everything that could
    ///   be read has been written.
    public static func write(
        config path: String, capture capturePath: String, asJSON: Bool,
        for processor: ProcessorShape = ProcessorShape(Rules.self), _ write: (String) -> Void
    ) throws {
        let configuration = try ConfigFile.read(path, for: processor)
        let byDefault = processor.hasRules ? " by default" : ""
        var reader: CaptureReader
        let explanation: Explanation
        do {
            reader = try CaptureReader(path: capturePath)
            var running = try Explanation(configuration, CaptureOverview(reader), processor)
            while let frame = try reader.next() {
                let packet = running.take(frame)
                write(asJSON ? packet.json : packet.text(byDefault: byDefault))
            }
            explanation = running
        } catch let failure as WholeFile.Failure {
            throw Failure(.usage, "--explain: \(failure)")
        }
        let summary = explanation.summary
        if asJSON { write(summary.json) } else { summary.text.forEach(write) }
        guard !reader.isCutShort else {
            throw Failure(
                .usage,
                "--explain: \(capturePath): ends within record \(reader.count + 1): "
                    + "what stands before it was judged")
        }
    }

    private init(
        _ configuration: Configuration, _ overview: CaptureOverview, _ processor: ProcessorShape
    ) throws {
        var configuration = configuration
        // Plain packets come from no gateway.
        if !overview.isGeneve { configuration.run.allowedSources = [] }
        self.configuration = configuration
        self.overview = overview
        judge = try JudgeMaker.judge(configuration, processor, packets: overview.frames)
        summary = ExplainSummary(
            rules: configuration.policy.rules.map(\.name) + processor.ruleNames,
            mtu: configuration.run.settings.mtu)
    }

    private mutating func take(_ frame: CaptureFrame) -> ExplainedPacket {
        let start = start ?? frame.time
        self.start = start
        var packet: ExplainedPacket
        switch outer(frame) {
        case .failure(let why): packet = ExplainedPacket(frame, why)
        case .success(let outer):
            let judgement = judge.judge(outer, at: frame.time)
            packet = ExplainedPacket(
                frame, outer, isGeneve: overview.isGeneve, judgement, configuration.policy.rules)
            packet.followsFirst = fragments.note(
                outer, judgement, configuration.policy, at: frame.time)
        }
        packet.time = Double(Int64(bitPattern: frame.time &- start)) / 1e9
        summary.count(packet)
        return packet
    }

    /// The outer packet to judge, or why there is none.
    private func outer(_ frame: CaptureFrame) -> Result<[UInt8], NotJudged> {
        switch frame.content {
        case .geneve(let packet):
            guard !overview.isReturned(packet) else { return .failure(.returned) }
            return packet.bytes[0] >> 4 == 4 ? .success(packet.bytes) : .failure(.outerIPv6)
        case .plain(let inner), .malformed(let inner):
            guard !overview.isGeneve else { return .failure(.beside) }
            guard inner.count <= Int(UInt16.max) - Encapsulation.overhead else {
                return .failure(.tooLong)
            }
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
struct NotJudged: Error {
    let text: String

    static let returned = NotJudged(text: "on its way back from the appliance")
    static let outerIPv6 = NotJudged(
        text: "Geneve over IPv6, which no gateway load balancer sends")
    static let beside = NotJudged(text: "not Geneve, and not for the packet path")
    static let tooLong = NotJudged(
        text: "too long for Geneve: merged by the host that captured it (GRO or TSO)")

    private init(text: String) { self.text = text }

    init(_ reason: CaptureFrame.Reason) {
        text =
            switch reason {
            case .notIP: "not IP"
            case .linkType(let type): LinkType.unknown(type)
            case .truncated: "captured in part only (see tcpdump -s 0)"
            case .malformed: "an empty frame"
            case .outerFragment: "an outer fragment: the kernel would put it together first"
            }
    }
}
