import Dataplane
import RuleEngine
import Support
import Wire

/// `endpoint: vpce-0123456789abcdef0`, or a list.
struct EndpointKey: MatchKey {
    let endpoints: [UInt64]

    static let key = Match.Key.endpoints
    static let help = "The endpoint of the gateway load balancer that the packet came through."
    static let values = "an endpoint id such as vpce-0123456789abcdef0, or a list"
    static let example = "{ endpoint: vpce-0123456789abcdef0 }"
    static let schema = Schema.oneOrList(Schema.reference("endpointId"))

    static func read(_ field: ConfigField, folder: SetFolder) -> Match.Condition? {
        let ids = field.all("an endpoint id") { item -> UInt64? in
            guard let id = item.node.scalar.flatMap({ EndpointID.parse($0.string) }) else {
                return item.expected("an endpoint id such as vpce-0123456789abcdef0")
            }
            return id
        }
        return ids.map { .endpoints($0) }
    }

    var words: String { "endpoint \(Words.any(endpoints.map(EndpointID.format)))" }

    func covers(_ other: Match) -> Bool {
        Shadows.contains(endpoints, other.endpoints) { $0 == $1 }
    }

    func contradiction(in match: Match) -> String? { nil }
}
