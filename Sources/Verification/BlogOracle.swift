/// What the blog policy makes of an inner packet, worked out as plainly as possible
/// and with none of the appliance's code: the second opinion that the appliance is held to.
///
/// It looks at one packet alone. A later fragment of a datagram whose first fragment is dropped
/// is expected to pass; an appliance that follows the first drops it, which is no violation.
public enum BlogOracle {
    public enum Outcome: Equatable, Sendable {
        /// It should come back with these bytes.
        case forward([UInt8])
        case drop
    }

    /// The largest inner packet that a rewrite may make.
    public static let mtu = 8500

    private static let dropMe = Array("drop me".utf8)
    private static let weaklyTyped = Array("weakly typed".utf8)
    private static let stronglyTyped = Array("strongly typed".utf8)

    /// - Parameter packet: the inner packet as it was sent, any trailing bytes included.
    public static func expect(_ packet: [UInt8]) -> Outcome {
        guard let ip = Layout(packet) else { return .drop }
        guard !ip.isLaterFragment else { return .forward(packet) }
        if ip.isIPv4 && ip.protocolNumber == 1 { return expectPing(packet, ip) }
        if ip.protocolNumber == 17 { return expectChat(packet, ip) }
        return .forward(packet)
    }

    private static func expectPing(_ packet: [UInt8], _ ip: Layout) -> Outcome {
        guard ip.end - ip.payload >= 8 else { return .forward(packet) }
        let type = packet[ip.payload]
        let sequence = number(packet, ip.payload + 6)
        let isEcho = type == 8 || type == 0
        return isEcho && sequence % 5 == 0 ? .drop : .forward(packet)
    }

    private static func expectChat(_ packet: [UInt8], _ ip: Layout) -> Outcome {
        let udp = ip.payload
        guard ip.end - udp >= 8,
            number(packet, udp) == 3000 || number(packet, udp + 2) == 3000
        else { return .forward(packet) }
        var length = number(packet, udp + 4)
        // RFC 2675 §4: over IPv6 a length of 0 means up to the end of the packet.
        let isEndless = length == 0 && !ip.isIPv4
        if isEndless { length = ip.end - udp }
        guard length >= 8 else { return .forward(packet) }
        var end = udp + length
        if end > ip.end {
            // The first fragment of a longer datagram; a whole packet that lies is left alone.
            guard ip.isFragment else { return .forward(packet) }
            end = ip.end
        }
        let text = Array(packet[udp + 8..<end])
        if contains(text, dropMe) { return .drop }
        guard !ip.isFragment, contains(text, weaklyTyped) else { return .forward(packet) }
        if isEndless { return .drop }
        return rewrite(packet, ip, udp, text)
    }

    private static func rewrite(
        _ packet: [UInt8], _ ip: Layout, _ udp: Int, _ text: [UInt8]
    ) -> Outcome {
        if ip.isIPv4, sum(Array(packet[0..<ip.headerLength])) != 0xFFFF { return .drop }
        let newText = replace(text, weaklyTyped, stronglyTyped)
        let growth = newText.count - text.count
        let oldEnd = udp + 8 + text.count
        // The IP packet ends where its length says: what trails it is cut off.
        var new = Array(packet[0..<udp + 8]) + newText + Array(packet[oldEnd..<ip.end])
        guard new.count <= mtu else { return .drop }

        set(&new, udp + 4, 8 + newText.count)
        if ip.isIPv4 {
            set(&new, 2, new.count)
            set(&new, 10, 0)
            set(&new, 10, 0xFFFF - sum(Array(new[0..<ip.headerLength])))
        } else {
            set(&new, 4, new.count - 40)
        }
        let oldChecksum = number(packet, udp + 6)
        if oldChecksum != 0 {
            // Right stays right; wrong stays wrong by the same difference. Both modulo 65535,
            // where 0 and 65535 are one number; UDP writes it as 65535.
            let right = udpChecksum(packet, ip, udp, oldEnd)
            let newRight = udpChecksum(new, ip, udp, oldEnd + growth)
            let checksum = (oldChecksum + 65535 - right + newRight) % 65535
            set(&new, udp + 6, checksum == 0 ? 65535 : checksum)
        }
        return .forward(new)
    }

    /// The checksum that the datagram at `udp` should carry, 0 to 65535.
    private static func udpChecksum(
        _ packet: [UInt8], _ ip: Layout, _ udp: Int, _ end: Int
    ) -> Int {
        var bytes = ip.isIPv4 ? Array(packet[12..<20]) : Array(packet[8..<40])
        let length = end - udp
        bytes += [0, 17, UInt8(length / 256), UInt8(length % 256)]
        bytes += Array(packet[udp..<udp + 6]) + [0, 0] + Array(packet[udp + 8..<end])
        return 65535 - sum(bytes)
    }

    /// Where things stand in the packet.
    private struct Layout {
        var isIPv4: Bool
        var headerLength: Int
        /// Where the transport header starts.
        var payload: Int
        var end: Int
        var protocolNumber: UInt8
        var isFragment = false
        var isLaterFragment = false

        /// Nil for what is no IP packet.
        init?(_ packet: [UInt8]) {
            guard let first = packet.first else { return nil }
            isIPv4 = first / 16 == 4
            if isIPv4 {
                headerLength = Int(first % 16) * 4
                guard packet.count >= 20, headerLength >= 20 else { return nil }
                payload = headerLength
                end = number(packet, 2)
                guard end >= headerLength, end <= packet.count else { return nil }
                protocolNumber = packet[9]
                let offset = number(packet, 6) % 8192
                let moreFollow = packet[6] & 0x20 != 0
                isLaterFragment = offset > 0
                isFragment = isLaterFragment || moreFollow
            } else {
                guard first / 16 == 6, packet.count >= 40 else { return nil }
                headerLength = 40
                payload = 40
                end = 40 + number(packet, 4)
                protocolNumber = packet[6]
                guard end <= packet.count, walkExtensions(packet) else { return nil }
            }
        }

        /// Hop-by-hop, routing, fragment and destination options headers, at most 8.
        private mutating func walkExtensions(_ packet: [UInt8]) -> Bool {
            var walked = 0
            var hasFragmentHeader = false
            while [0, 43, 44, 60].contains(protocolNumber), !isLaterFragment {
                guard walked < 8, payload + 8 <= end else { return false }
                walked += 1
                let length = protocolNumber == 44 ? 8 : (Int(packet[payload + 1]) + 1) * 8
                guard payload + length <= end else { return false }
                if protocolNumber == 44 {
                    // Two of them are no packet at all.
                    guard !hasFragmentHeader else { return false }
                    hasFragmentHeader = true
                    let field = number(packet, payload + 2)
                    isLaterFragment = field / 8 > 0
                    isFragment = isLaterFragment || field % 2 == 1
                }
                protocolNumber = packet[payload]
                payload += length
            }
            return true
        }
    }

    // ---- Bytes.

    /// Two bytes, the high one first.
    private static func number(_ bytes: [UInt8], _ at: Int) -> Int {
        Int(bytes[at]) * 256 + Int(bytes[at + 1])
    }

    private static func set(_ bytes: inout [UInt8], _ at: Int, _ value: Int) {
        bytes[at] = UInt8(value / 256)
        bytes[at + 1] = UInt8(value % 256)
    }

    /// RFC 1071: 16 bits at a time, the carry added at once.
    private static func sum(_ bytes: [UInt8]) -> Int {
        var sum = 0
        for i in stride(from: 0, to: bytes.count, by: 2) {
            sum += Int(bytes[i]) * 256 + (i + 1 < bytes.count ? Int(bytes[i + 1]) : 0)
            if sum > 65535 { sum -= 65535 }
        }
        return sum
    }

    private static func contains(_ text: [UInt8], _ word: [UInt8]) -> Bool {
        text.indices.contains { text[$0...].starts(with: word) }
    }

    /// Every occurrence, left to right, not overlapping; what was put in is not searched.
    private static func replace(
        _ text: [UInt8], _ word: [UInt8], _ by: [UInt8]
    ) -> [UInt8] {
        var new: [UInt8] = []
        var at = 0
        while at < text.count {
            if text[at...].starts(with: word) {
                new += by
                at += word.count
            } else {
                new.append(text[at])
                at += 1
            }
        }
        return new
    }
}
