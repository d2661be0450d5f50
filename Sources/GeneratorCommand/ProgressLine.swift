import Generator
import Glibc

/// How a run goes, on standard error: one line that renews itself on a terminal, else one a second.
struct ProgressLine {
    private let isTerminal = isatty(2) == 1

    func show(_ report: RunReport) {
        guard let interval = report.intervals.last else { return }
        let begin = report.intervals.dropLast().last?.second ?? 0
        let rate = Double(interval.sent) / max(interval.second - begin, 0.001)
        var line = "\(Figure.seconds(interval.second))  \(Figure.rate(rate))"
        line += "  lost \(report.lost) (\(Figure.percent(report.loss)))"
        line += "  latency p50 \(Figure.time(interval.p50Ns)), p99 \(Figure.time(interval.p99Ns))"
        if report.violationTotal > 0 { line += "  violations \(report.violationTotal)" }
        put(isTerminal ? "\r\u{1B}[K" + line : line + "\n")
    }

    /// Leaves the line to what comes next.
    func end() {
        if isTerminal { put("\r\u{1B}[K") }
    }

    func put(_ text: String) {
        let bytes = Array(text.utf8)
        _ = write(2, bytes, bytes.count)
    }
}
