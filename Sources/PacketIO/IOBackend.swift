/// The backends that the appliance runs on: the one list of them.
public enum IOBackend: String, CaseIterable, Sendable {
    case packet, udp, raw

    /// What runs where nobody has chosen, if the host permits it.
    public static let fastest = IOBackend.packet
    /// What runs where the host does not permit `fastest`.
    public static let fallback = IOBackend.udp

    /// What the start must know of the backend.
    public var traits: BackendTraits {
        switch self {
        case .packet: PacketSocketIO.traits
        case .udp: UDPSocketIO.traits
        case .raw: RawSocketIO.traits
        }
    }

    // ---- For messages.

    /// "auto, packet, udp or raw".
    public static let choices = listed(["auto"] + allCases.map(\.rawValue))
    /// "packet or udp".
    public static let steeringByCPU = listed(
        allCases.filter(\.traits.steersByCPU).map(\.rawValue))

    private static func listed(_ names: [String]) -> String {
        guard let last = names.last, names.count > 1 else { return names.joined() }
        return "\(names.dropLast().joined(separator: ", ")) or \(last)"
    }
}
