import Dataplane
import Logging

/// The configuration of an appliance: what the file, the environment and the flags say together.
public struct Configuration: Sendable {
    public var run = RunOptions()
    public var policy = PolicySet()
    /// For the program's own processor.
    var processor = ProcessorSection()
    public var logLevel = Logger.Level.info
    public var logFormat = LineLogHandler.Format.text
    /// Path of the config file; nil without one.
    package var file: String?
    /// Path of the control socket; nil = the default one.
    package var control: String?
    /// The file says nothing at all.
    var isEmpty = false
    /// Where each setting that somebody gave was given, by its name in the table.
    var places: [String: SettingPlace] = [:]

    public init() {}

    public func makeLogger() -> Logger {
        Logger(label: "sluice") { _ in LineLogHandler(level: logLevel, format: logFormat) }
    }

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
