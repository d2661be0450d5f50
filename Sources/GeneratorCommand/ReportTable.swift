import Generator
import Verification

/// The report of a run for people.
enum ReportTable {
    static func text(_ report: RunReport, plan: TrafficPlan) -> String {
        var lines = classTable(report)
        lines.append("")
        lines.append(
            "offered   \(Figure.rate(report.ratePps)), \(Figure.bits(report.rateBps)) "
                + "for \(Figure.seconds(report.durationS))")
        lines.append(
            "loss      \(report.lost) of \(report.sent - report.expectedDrops) "
                + "(\(Figure.percent(report.loss)))")
        let latency = report.latencyNs
        if latency.samples > 0 {
            lines.append(
                "latency   p50 \(Figure.time(latency.p50)), p90 \(Figure.time(latency.p90)), "
                    + "p99 \(Figure.time(latency.p99)), p99.9 \(Figure.time(latency.p999)), "
                    + "max \(Figure.time(latency.max))")
        }
        lines.append("violations " + violations(report))
        for limit in report.limits {
            lines.append("generator limited: \(limit)")
        }
        return lines.joined(separator: "\n")
    }

    private static func violations(_ report: RunReport) -> String {
        let found = Violation.allCases.compactMap { kind in
            let count = report.violations[kind.rawValue] ?? 0
            return count > 0 ? "\(kind.rawValue) \(count)" : nil
        }
        return found.isEmpty ? "none" : found.joined(separator: ", ")
    }

    private static func classTable(_ report: RunReport) -> [String] {
        var rows = [["class", "sent", "received", "expected drops", "lost"]]
        for (name, count) in report.classes.sorted(by: { $0.key < $1.key }) {
            rows.append(
                [name]
                    + [count.sent, count.received, count.expectedDrops, count.lost].map(String.init)
            )
        }
        rows.append(
            ["total"]
                + [report.sent, report.received, report.expectedDrops, report.lost].map(String.init)
        )
        let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max()! }
        return rows.map { row in
            zip(row, widths).enumerated().map { column, cell in
                let space = String(repeating: " ", count: cell.1 - cell.0.count)
                return column == 0 ? cell.0 + space : space + cell.0
            }.joined(separator: "  ")
        }
    }
}
