import ArgumentParser
import Generator

/// Whether a run went as it should, and a guess why not.
enum Verdict {
    static let onlyPings =
        "only pings were lost: the built-in policy drops every fifth. Where it runs, `--expect blog` "
        + "expects that"

    /// - Throws: exit code 1, for a violation or more loss than is allowed.
    static func judge(_ report: RunReport, _ plan: TrafficPlan, _ engine: Engine) throws {
        guard report.violationTotal > 0 || report.loss > plan.maxLoss else { return }
        if report.isUnanswered {
            say(engine.whyUnanswered)
        } else if report.losesOnlyPings {
            say(onlyPings)
        }
        throw ExitCode(1)
    }
}
