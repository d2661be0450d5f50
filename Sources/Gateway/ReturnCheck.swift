import Verification
import Wire

/// Holds what comes back against what was sent, packet by packet.
///
/// Packets with one inner tuple and direction keep their order and have a `ReturnWindow` of
/// their own; idle ones are forgotten.
public struct ReturnCheck: Sendable {
    /// One inner flow.
    private struct Lane {
        let key: FlowKey
        /// Low to high, high to low.
        var windows = (ReturnWindow(), ReturnWindow())
        /// The load balancer's flow that it belongs to.
        var flow: UInt64
        /// Where each direction's packets came in: the caller's own.
        var origins = (-1, -1)
        /// A packet with a wrong checksum was sent.
        var sentWrongChecksum = false
        var lastSeen: UInt64
    }

    /// A verdict about a returned packet.
    public struct Judgement: Equatable, Sendable {
        public var violation: Violation?
        /// Where packets of this tuple and direction came in; nil when none did.
        public var origin: Int?
        /// The mark of the sent packet that it answers.
        public var mark = false
    }

    public let expectation: Behaviour
    public let settings: WindowSettings
    /// Sent packets that should not come back.
    public private(set) var expectedDrops: UInt64 = 0
    private var lanes: [Lane?] = []
    private var free: [Int] = []
    private var laneOfKey: [HashedKey: Int] = [:]
    private var sweepAt = 0

    /// A tuple is forgotten after this time without a packet sent, nanoseconds.
    private static let idle: UInt64 = 400_000_000_000
    /// With `any`, a changed packet matches nothing and costs a look at the whole window.
    private static let anyCapacity = 512

    public init(_ expectation: Behaviour, settings: WindowSettings = WindowSettings()) {
        self.expectation = expectation
        var settings = settings
        if expectation == .any { settings.capacity = min(settings.capacity, Self.anyCapacity) }
        self.settings = settings
    }

    /// Notes a packet that is sent now.
    /// - Parameters:
    ///   - view: ends with the inner packet.
    ///   - flow: number of the load balancer's flow.
    ///   - origin: where it came in, 0 or more; returned by `returned`.
    ///   - mark: returned with the answer to this packet, if there should be one.
    /// - Returns: false when it should not come back.
    @discardableResult
    public mutating func sent(
        _ view: PacketView, _ inner: InnerPacket, endpoint: UInt64, flow: UInt64, origin: Int,
        mark: Bool = false, at now: UInt64
    ) -> Bool {
        var fingerprint = Fingerprint(view, inner)
        var expectsDrop = false
        if expectation == .blog, let outcome = ReturnCheck.blogOutcome(view, inner) {
            switch outcome {
            case .drop: expectsDrop = true
            case .forward(let bytes): fingerprint = Fingerprint(bytes)
            }
        }
        if expectsDrop { expectedDrops += 1 }
        let mark = mark && !expectsDrop
        let i = lane(inner.key(endpoint: endpoint), flow: flow, at: now)
        if expectation == .any, !inner.checksumsAreRight(view) {
            lanes[i]!.sentWrongChecksum = true
        }
        if inner.runsLowToHigh {
            lanes[i]!.origins.0 = origin
            lanes[i]!.windows.0.sent(
                fingerprint, expectsDrop: expectsDrop, mark: mark, at: now, settings)
        } else {
            lanes[i]!.origins.1 = origin
            lanes[i]!.windows.1.sent(
                fingerprint, expectsDrop: expectsDrop, mark: mark, at: now, settings)
        }
        return !expectsDrop
    }

    /// The oracle's word; nil for what the policy never touches.
    private static func blogOutcome(
        _ view: PacketView, _ inner: InnerPacket
    ) -> BlogOracle.Outcome? {
        guard inner.protocolNumber == IPProtocol.udp || inner.protocolNumber == IPProtocol.icmp
        else { return nil }
        let bytes = (inner.start..<view.count).map { view.u8($0) }
        let outcome = BlogOracle.expect(bytes)
        return outcome == .forward(bytes) ? nil : outcome
    }

    private mutating func lane(_ key: FlowKey, flow: UInt64, at now: UInt64) -> Int {
        if let i = laneOfKey[HashedKey(key)] {
            lanes[i]!.flow = flow
            lanes[i]!.lastSeen = now
            return i
        }
        let lane = Lane(key: key, flow: flow, lastSeen: now)
        let i: Int
        if let reused = free.popLast() {
            i = reused
            lanes[i] = lane
        } else {
            i = lanes.count
            lanes.append(lane)
        }
        laneOfKey[HashedKey(key)] = i
        return i
    }

    /// Judges a packet that came back now, for the load balancer's flow it was found to belong
    /// to.
    /// - Parameters:
    ///   - view: ends with the outer UDP datagram.
    ///   - previousTarget: as for `headerViolation`.
    public mutating func returned(
        _ view: PacketView, _ packet: ReturnedPacket, header: GatewayHeader, flow: UInt64,
        previousTarget: UInt32? = nil, at now: UInt64
    ) -> Judgement {
        var judgement = Judgement()
        judgement.violation = packet.headerViolation(
            against: header, previousTarget: previousTarget, view)
        guard let inner = InnerPacket(view, at: packet.inner),
            let i = laneOfKey[HashedKey(inner.key(endpoint: header.endpoint))]
        else {
            judgement.violation = judgement.violation ?? .payload
            return judgement
        }
        // The header of another flow than the one this tuple belongs to.
        if lanes[i]!.flow != flow { judgement.violation = judgement.violation ?? .geneve }
        let match = match(lane: i, view, inner, at: now)
        judgement.mark = match.mark
        let origin = inner.runsLowToHigh ? lanes[i]!.origins.0 : lanes[i]!.origins.1
        judgement.origin = origin >= 0 ? origin : nil
        if judgement.violation == nil {
            judgement.violation = violation(match, lane: i, view, packet, inner)
        }
        return judgement
    }

    private mutating func match(
        lane i: Int, _ view: PacketView, _ inner: InnerPacket, at now: UInt64
    ) -> ReturnWindow.Match {
        let fingerprint = Fingerprint(view, inner)
        return inner.runsLowToHigh
            ? lanes[i]!.windows.0.returned(fingerprint, at: now, settings)
            : lanes[i]!.windows.1.returned(fingerprint, at: now, settings)
    }

    /// What is wrong inside and in time; the outer checksum stands between the two.
    private func violation(
        _ match: ReturnWindow.Match, lane i: Int, _ view: PacketView, _ packet: ReturnedPacket,
        _ inner: InnerPacket
    ) -> Violation? {
        var timing: Violation?
        switch match.verdict {
        case .fine, .unknown: break
        case .violation(let kind):
            switch kind {
            case .late, .duplicate, .reordered:
                timing = kind
            case .payload where expectation == .any, .innerChecksum where expectation == .any:
                if !lanes[i]!.sentWrongChecksum, !inner.checksumsAreRight(view) {
                    return .innerChecksum
                }
            default: return kind
            }
        }
        return packet.outerChecksumIsRight(view) ? timing : .outerChecksum
    }

    /// Forgets idle tuples, looking at `count` of them per call.
    public mutating func sweep(_ count: Int, at now: UInt64) {
        for _ in 0..<min(count, lanes.count) {
            sweepAt = sweepAt + 1 < lanes.count ? sweepAt + 1 : 0
            guard let lane = lanes[sweepAt], now &- lane.lastSeen > Self.idle else { continue }
            laneOfKey[HashedKey(lane.key)] = nil
            lanes[sweepAt] = nil
            free.append(sweepAt)
        }
    }
}
