import Configuration
import Foundation
import RuleEngine

/// How reloads went, and what is in force.
public struct ReloadReading: Sendable, Equatable {
    public var generation: UInt64 = 1
    public var succeeded: UInt64 = 0
    public var failed: UInt64 = 0
    public var lastSucceeded = true
    /// When the last one ended, Unix time; the start counts as one.
    public var lastTime = 0.0
    /// How long the last one took to read, compile and hand over, seconds.
    public var lastDuration = 0.0
    /// What was wrong with the last one; empty when it succeeded.
    public var lastErrors: [String] = []
    /// Of the file in force; nil without one.
    public var path: String?
    public var digest: String?
    /// Bytes of the tables of the policy in force.
    public var policyBytes = 0

    public init() {}

    /// A configuration came into force.
    mutating func note(_ configuration: Configuration, _ policy: PolicySnapshot?) {
        lastSucceeded = true
        lastErrors = []
        lastTime = Date.now.timeIntervalSince1970
        path = configuration.file
        digest = configuration.fileDigest
        policyBytes = policy?.byteCount ?? 0
    }

    /// One was refused.
    mutating func note(_ errors: ConfigErrors) {
        failed += 1
        lastSucceeded = false
        lastErrors = errors.lines
        lastTime = Date.now.timeIntervalSince1970
    }
}
