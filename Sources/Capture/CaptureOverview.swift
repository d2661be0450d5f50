import Wire

/// What a first walk over a capture tells the second: how many frames there are, whether they hold
/// Geneve, and which way it went.
public struct CaptureOverview {
    public private(set) var frames = 0
    public private(set) var isGeneve = false
    private var sides: [Pair: Side] = [:]
    /// Packets that went one way and may come back the other, by a hash of what is in them.
    private var waiting: [Int: Bool] = [:]

    private static let mostWaiting = 1 << 16

    /// Two outer addresses.
    private struct Pair: Hashable {
        var low: IPv6Address
        var high: IPv6Address
    }

    /// What tells the way to the appliance from the way back. Positive: low to high leads to it.
    private struct Side {
        /// Packets that went one way first and then, unchanged, the other.
        var echoes = 0
        /// Packets, of which some that go to an appliance do not come back.
        var packets = 0
        var upwardTTL: UInt8?
        var downwardTTL: UInt8?
        let firstIsUpward: Bool

        /// Answers may lose a hop.
        private var hops: Int {
            guard let upwardTTL, let downwardTTL else { return 0 }
            return Int(upwardTTL) - Int(downwardTTL)
        }

        /// The first sign that says anything; else what came first went to the appliance.
        var leadsUpward: Bool {
            [echoes, hops, packets].first { $0 != 0 }.map { $0 > 0 } ?? firstIsUpward
        }
    }

    /// - Parameter reader: at its beginning.
    public init(_ reader: CaptureReader) throws(WholeFile.Failure) {
        var reader = reader
        while let frame = try reader.next() {
            frames += 1
            if case .geneve(let packet) = frame.content { note(packet) }
        }
        waiting = [:]
    }

    /// It comes from an appliance: the same packet a second time.
    public func isReturned(_ packet: CaptureFrame.Encapsulated) -> Bool {
        let (pair, isUpward) = CaptureOverview.pair(packet)
        return sides[pair].map { $0.leadsUpward != isUpward } ?? false
    }

    private static func pair(_ packet: CaptureFrame.Encapsulated) -> (Pair, isUpward: Bool) {
        let (source, destination) = (packet.source, packet.destination)
        return source < destination
            ? (Pair(low: source, high: destination), true)
            : (Pair(low: destination, high: source), false)
    }

    private mutating func note(_ packet: CaptureFrame.Encapsulated) {
        isGeneve = true
        let (pair, isUpward) = CaptureOverview.pair(packet)
        var side = sides[pair] ?? Side(firstIsUpward: isUpward)
        side.packets += isUpward ? 1 : -1
        if isUpward {
            side.upwardTTL = side.upwardTTL ?? packet.ttl
        } else {
            side.downwardTTL = side.downwardTTL ?? packet.ttl
        }
        if case .packet(let inner) = packet.inner {
            var hasher = Hasher()
            hasher.combine(pair)
            hasher.combine(packet.bytes[inner])
            let hash = hasher.finalize()
            if let first = waiting[hash], first != isUpward {
                side.echoes += first ? 1 : -1
                waiting[hash] = nil
            } else {
                // Those that wait longest were dropped or rewritten.
                if waiting.count == CaptureOverview.mostWaiting { waiting = [:] }
                waiting[hash] = isUpward
            }
        }
        sides[pair] = side
    }
}
