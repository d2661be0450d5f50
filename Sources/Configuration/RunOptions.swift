import CSluice
import Dataplane
import PacketIO
import Wire

/// An address and port to listen on.
public struct ListenAddress: Equatable, Sendable, CustomStringConvertible {
    /// Host order.
    public var address: UInt32
    public var port: UInt16

    public init(address: UInt32, port: UInt16) {
        self.address = address
        self.port = port
    }

    /// "192.0.2.1:8080".
    public init?(_ text: String) {
        guard let colon = text.lastIndex(of: ":"),
            let address = IPv4Address.parse(text[..<colon]),
            let port = ConfigField.number(text[text.index(after: colon)...]),
            (1...65_535).contains(port)
        else { return nil }
        self.init(address: address, port: UInt16(port))
    }

    public var description: String { "\(IPv4Address.format(address)):\(port)" }
}

/// Everything `sluice run` can be told.
public struct RunOptions: Sendable {
    /// Empty = auto.
    public var interfaces: [String] = []
    /// Host order; 0 = every local address.
    public var address: UInt32 = 0
    /// Nil = auto.
    public var backend: IOBackend?
    /// Nil = auto.
    public var workers: Int?
    /// Empty = auto.
    public var cpus: [Int] = []
    public var steering = Steering.flow
    /// Steered by CPU even if the policy keeps state of flows.
    public var allowsSplitFlows = false
    public var busyPoll = false
    /// Send past the queueing discipline (`packet`).
    public var bypassesQdisc = true
    public var health = ListenAddress(address: 0, port: 8080)
    public var healthTCP: ListenAddress?
    /// Of `/metrics` and `/status`; nil: with `/health`.
    public var admin: ListenAddress?
    public var drain = DrainLimits()
    /// Without `allowedSources`.
    public var settings = PathSettings()
    /// IPv4 prefixes, addresses in host order. Empty = everyone.
    public var allowedSources: [(address: UInt32, length: Int)] = []
    /// `mtu` was given, not defaulted.
    public var mtuIsSet = false
    public var zeroOuterChecksum = false
    /// Flow table entries of one worker: a power of two.
    public var flowsPerWorker = 262_144
    /// Bytes of one slot, and how many slots' worth of packets the kernel may queue.
    public var frameSize = 9216
    public var ringFrames = 4096

    /// What packets find their worker by.
    public enum Steering: Sendable { case flow, addresses, cpu }

    public init() {}

    /// `settings` with the allowed sources, in memory that lives as long as the process or the
    /// snapshot that takes it over.
    package var pathSettings: PathSettings {
        var settings = settings
        settings.zeroOuterChecksum = zeroOuterChecksum
        settings.fragmentsMeetFlows = steering == .addresses
        if !allowedSources.isEmpty { settings.allowedSources = AddressSet(allowedSources) }
        return settings
    }
}

/// CPU lists as Linux writes them: "1-3,7".
public enum CPUList {
    /// Nil when the text is not such a list. Order is kept, duplicates are not.
    public static func parse(_ text: String) -> [Int]? {
        var cpus: [Int] = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let ends = part.split(separator: "-", omittingEmptySubsequences: false).map {
                ConfigField.number($0)
            }
            guard (1...2).contains(ends.count), let first = ends[0],
                let last = ends[ends.count - 1],
                first >= 0, first <= last, last < 4096
            else { return nil }
            for cpu in first...last where !cpus.contains(cpu) { cpus.append(cpu) }
        }
        return cpus
    }

    /// The CPUs this process may run on.
    public static func allowed() -> [Int] {
        var cpus = [Int32](repeating: 0, count: 1024)
        // Sound: no more CPUs are written than the array has room for.
        let count = unsafe sluice_allowed_cpus(&cpus, Int32(cpus.count))
        return cpus.prefix(Int(count)).map(Int.init)
    }
}
