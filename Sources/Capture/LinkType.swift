import Wire

/// By number in the registry of link types (tcpdump.org/linktypes.html).
public enum LinkType: UInt32 {
    case null = 0
    case ethernet = 1
    // DLT_RAW has these numbers on some systems.
    case rawBSD = 12
    case rawOpenBSD = 14
    case raw = 101
    case loop = 108
    case cooked = 113
    case rawIPv4 = 228
    case rawIPv6 = 229
    case cooked2 = 276

    /// Why frames of another one are left out.
    public static func unknown(_ type: UInt32) -> String {
        "link type \(type) is not read, only Ethernet, raw IP, Linux cooked and loopback"
    }

    /// Where the IP header stands; nil for what is not IP.
    func networkHeader(_ file: PacketView, _ frame: Range<Int>) -> Int? {
        let start = frame.lowerBound
        func payload(_ etherType: Int, _ header: Int) -> Int? {
            guard frame.count >= header else { return nil }
            return untagged(file, type: start + etherType, payload: start + header, frame)
        }
        switch self {
        case .ethernet: return payload(12, 14)
        case .cooked: return payload(14, 16)
        case .cooked2: return payload(0, 20)
        case .raw, .rawBSD, .rawOpenBSD, .rawIPv4, .rawIPv6: return start
        case .null, .loop:
            // An address family, of which only the numbers differ by system, and for `null`
            // the byte order; the IP version is what counts.
            return frame.count >= 4 ? start + 4 : nil
        }
    }

    /// Passes VLAN tags (IEEE 802.1Q, 802.1ad), at most four.
    private func untagged(
        _ file: PacketView, type: Int, payload: Int, _ frame: Range<Int>
    ) -> Int? {
        var type = type
        var payload = payload
        for _ in 0...4 {
            switch file.u16(type) {
            case GeneveHeader.protocolIPv4, GeneveHeader.protocolIPv6: return payload
            case 0x8100, 0x88A8, 0x9100:
                guard frame.upperBound - payload >= 4 else { return nil }
                type = payload + 2
                payload += 4
            default: return nil
            }
        }
        return nil
    }
}
