/// What the report tells apart.
enum TrafficClass: UInt8, CaseIterable {
    /// UDP, by payload.
    case neutral, drop, rewrite, random, tls, dns, file
    case tcp, icmp, other, fragment, malformed, replay

    var name: String { "\(self)" }

    init(_ payload: PayloadTemplate) {
        self =
            switch payload {
            case .neutral: .neutral
            case .drop: .drop
            case .rewrite: .rewrite
            case .random: .random
            case .tls: .tls
            case .dns: .dns
            case .file: .file
            }
    }
}
