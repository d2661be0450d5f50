import Dataplane
import Logging
import RuleEngine

/// The configuration of an appliance: what the file, the environment and the flags say together.
public struct Configuration: Sendable {
    public var run = RunOptions()
    public var policy = PolicySet()
    /// For the program's own processor.
    package var processor = ProcessorSection()
    public var logLevel = Logger.Level.info
    public var logFormat = LogFormat.text
    /// Path of the config file; nil without one.
    package var file: String?
    /// SHA-256 of that file, in hexadecimal digits.
    package var fileDigest: String?
    /// Paths of the sets that rules name.
    package var sets: [String] = []
    /// Path of the control socket; nil = the default one.
    package var control: String?
    /// Where each setting that somebody gave was given, by its name in the table.
    var places: [String: SettingPlace] = [:]

    public init() {}

    /// What becomes of inner packets that cannot be decoded. A new value counts for every endpoint.
    var forwardsUndecodable: Bool {
        get { run.settings.forwardsUndecodable }
        set {
            run.settings.forwardsUndecodable = newValue
            for endpoint in policy.endpoints.keys {
                policy.endpoints[endpoint]?.forwardsUndecodable = newValue
            }
        }
    }
}
