import Dataplane
import RuleEngine
import Wire

/// What became of first fragments, by which later ones are told that follow them. It decides
/// nothing: the rule engine has its own memory of them.
struct FirstFragments {
    private struct Packet: Hashable {
        var endpoint: UInt64
        var protocolNumber: UInt8
        var source: IPv6Address
        var destination: IPv6Address
        var identification: UInt32
    }

    private struct First {
        var time: UInt64
        var isForwarded: Bool
    }

    private static let most = 1 << 16
    /// Nanoseconds, as the rule engine keeps them.
    private static let longest: UInt64 = 30_000_000_000

    private var seen: [Packet: First] = [:]

    /// True for a later fragment that fared as its first; nil for all others.
    mutating func note(
        _ outer: [UInt8], _ judgement: Judgement, _ policy: PolicySet, at time: UInt64
    ) -> Bool? {
        var bytes = outer
        let fragment = withPacketView(&bytes) { view -> (Packet, isLater: Bool)? in
            guard let layout = PacketLayout(explaining: view), layout.isFragment else { return nil }
            let packet = Packet(
                endpoint: layout.options.endpoint, protocolNumber: layout.flowProtocol,
                source: layout.source, destination: layout.destination,
                identification: FragmentPosition(view, layout).identification)
            return (packet, layout.isLaterFragment)
        }
        guard let (packet, isLater) = fragment else { return nil }
        guard isLater else {
            if seen.count == FirstFragments.most { seen = [:] }
            seen[packet] = First(time: time, isForwarded: judgement.reason == nil)
            return nil
        }
        let rules = policy.endpoints[packet.endpoint] ?? policy.main
        guard rules.fragments == .followFirst, judgement.decisive == nil, let first = seen[packet],
            time &- first.time <= FirstFragments.longest
        else { return nil }
        let fared = first.isForwarded ? judgement.reason == nil : judgement.reason == .fragment
        return fared ? true : nil
    }
}

extension PacketLayout {
    /// As much as can be read of a packet that is only told of, and what ended that; nil = nothing.
    static func explaining(_ view: PacketView) -> (layout: PacketLayout, problem: DropReason?) {
        var settings = PathSettings()
        settings.requireAWSOptions = false
        var layout = PacketLayout()
        // An answer's addresses are swapped: its sum is the same.
        let problem = layout.parse(view, facts: [.headerVerified], settings: settings)
        return (layout, problem)
    }

    /// Nil when not all of it can be read.
    init?(explaining view: PacketView) {
        let (layout, problem) = PacketLayout.explaining(view)
        guard problem == nil else { return nil }
        self = layout
    }
}
