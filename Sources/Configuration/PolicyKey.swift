import Dataplane
import RuleEngine
import Support

/// The keys of the section `policy`, and of a policy in `endpoints`.
enum PolicyKey: String, CaseIterable {
    case `default`
    case onError = "on-error"
    case onUnknownTCP = "on-unknown-tcp"
    case fragments, rules, endpoints

    static let defaultWords: KeyValuePairs = ["forward": false, "drop": true]
    static let onErrorWords: KeyValuePairs = ["drop": false, "forward": true]
    static let unknownTCPWords: KeyValuePairs = ["evaluate": false, "drop": true]
    static let fragmentWords: KeyValuePairs<String, Policy.Fragments> = [
        "follow-first": .followFirst, "forward": .forward, "drop": .drop,
    ]

    var help: String {
        switch self {
        case .default: "What becomes of a packet that no rule decides."
        case .onError:
            "What becomes of a packet whose inner packet cannot be decoded. What is forwarded so is "
                + "not inspected; Linux delivers two kinds of it: more than 8 IPv6 extension "
                + "headers, and an IPv6 payload length of 0 without a jumbo option."
        case .onUnknownTCP:
            "TCP in mid-flow of which nothing was forwarded yet: evaluate lets the rules decide, "
                + "drop drops it before them."
        case .fragments:
            "What becomes of a later fragment that no rule decides, since it has no ports and no "
                + "payload: as the first of its packet fared, forward, or drop."
        case .rules: "Rules in order: the first that forwards or drops decides a packet."
        case .endpoints:
            "Policies of their own for some endpoints, by endpoint id, with the same keys but "
                + "this one. Their packets see them instead of the rest of this section."
        }
    }

    /// Words it may have, the default first; nil: something else stands behind it.
    var words: [String]? {
        switch self {
        case .default: PolicyKey.defaultWords.map(\.key)
        case .onError: PolicyKey.onErrorWords.map(\.key)
        case .onUnknownTCP: PolicyKey.unknownTCPWords.map(\.key)
        case .fragments: PolicyKey.fragmentWords.map(\.key)
        case .rules, .endpoints: nil
        }
    }

    var schema: JSONValue {
        let value: JSONValue =
            switch self {
            case .default, .onError, .onUnknownTCP, .fragments:
                Schema.choice(words ?? [], default: words?.first)
            case .rules: ["type": ["array", "null"], "items": Schema.reference("rule")]
            case .endpoints:
                [
                    "type": ["object", "null"], "propertyNames": Schema.reference("endpointId"),
                    "additionalProperties": Schema.reference("endpointPolicy"),
                ]
            }
        return Schema.described(value, help)
    }
}
