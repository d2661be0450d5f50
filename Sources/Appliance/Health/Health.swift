/// Whether the load balancer should send traffic here.
public enum Health: Equatable, Sendable {
    case healthy
    /// Not every worker has beaten yet.
    case starting
    case draining
    /// These workers have made no progress for longer than the limit.
    case stuck(workers: [Int])
    /// These, in words, should be served and are not there.
    case missing([String])
    /// Interfaces merge packets, of which the backend loses all but one: commands that end it.
    case merging([String])

    /// A worker that has made no progress for this time is stuck, nanoseconds. An idle worker
    /// beats four times in that time.
    public static let limit: UInt64 = 1_000_000_000

    /// - Parameter heartbeats: monotonic nanoseconds of each worker's last progress; 0 = none yet.
    public init(
        now: UInt64, heartbeats: [UInt64], isDraining: Bool, missing: [String] = [],
        merging: [String] = []
    ) {
        if isDraining {
            self = .draining
        } else if heartbeats.isEmpty || heartbeats.contains(0) {
            self = .starting
        } else {
            // A beat may be younger than `now`, which was read before it.
            let stuck = heartbeats.indices.filter {
                now > heartbeats[$0] && now - heartbeats[$0] > Health.limit
            }
            self =
                if !stuck.isEmpty { .stuck(workers: stuck) } else if !missing.isEmpty {
                    .missing(missing)
                } else { merging.isEmpty ? .healthy : .merging(merging) }
        }
    }

    public var isHealthy: Bool { self == .healthy }

    /// The `status` of the JSON body.
    public var status: String {
        switch self {
        case .healthy: "healthy"
        case .starting: "starting"
        case .draining: "draining"
        case .stuck, .missing, .merging: "unhealthy"
        }
    }

    /// One sentence for people.
    public var reason: String {
        switch self {
        case .healthy: "every worker makes progress"
        case .starting: "not every worker has started"
        case .draining: "the appliance is draining"
        case .stuck(let workers):
            "no progress for more than 1 s: worker "
                + workers.map(String.init).joined(separator: ", ")
        case .missing(let what): "not there: " + what.joined(separator: ", ")
        case .merging(let remedies):
            "packets are lost that an interface merges (GRO): `"
                + remedies.joined(separator: "`, `") + "` ends that"
        }
    }
}
