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
                identification: FirstFragments.identification(view, layout))
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

    /// RFC 791 §3.1; RFC 8200 §4.5, behind the headers that may stand before it.
    private static func identification(_ view: PacketView, _ layout: PacketLayout) -> UInt32 {
        guard layout.version == 6 else { return UInt32(view.u16(layout.inner + 4)) }
        var next = view.u8(layout.inner + 6)
        var at = layout.inner + IPv6Header.length
        while next != 44, IPv6ExtensionWalk.isExtension(next), at + 8 <= layout.innerEnd {
            let length = (Int(view.u8(at + 1)) + 1) * 8
            next = view.u8(at)
            at += length
        }
        return at + 8 <= layout.innerEnd ? view.u32(at + 4) : 0
    }
}

extension PacketLayout {
    /// As much as can be read of a packet that is only told of; nil when that is not enough.
    init?(explaining view: PacketView) {
        self.init()
        var settings = PathSettings()
        settings.requireAWSOptions = false
        // An answer's addresses are swapped: its sum is the same.
        guard parse(view, facts: [.headerVerified], settings: settings) == nil else { return nil }
    }
}
