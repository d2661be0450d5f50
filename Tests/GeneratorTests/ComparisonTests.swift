import Generator
import Testing

@Suite struct ComparisonTests {
    typealias Ratio = Comparison.Ratio

    @Test func `a ratio is taken within a round, and its spread over them`() {
        let ratio = Ratio([(20, 10), (90, 30), (10, 10)])
        #expect(ratio?.rounds == [2, 3, 1])
        #expect(ratio?.median == 2 && ratio?.min == 1 && ratio?.max == 3)
        #expect(Ratio([(1, 1), (2, 1)])?.median == 1.5)
        #expect(Ratio([]) == nil)
        #expect(Ratio([(1, 1), (0, 0)]) == nil)
    }

    static func turn(pps: Double, p50: UInt64, loss: Double = 0) -> Comparison.Turn {
        var report = RunReport()
        report.ratePps = pps
        report.loss = loss
        report.latencyNs.p50 = p50
        report.latencyNs.p99 = p50 * 2
        return Comparison.Turn(report)
    }

    @Test func `what was fixed has no ratio`() {
        for isSearch in [false, true] {
            var comparison = Comparison(isSearch: isSearch)
            comparison.add(
                Comparison.Round(a: Self.turn(pps: 300, p50: 10), b: Self.turn(pps: 200, p50: 40)))
            comparison.add(
                Comparison.Round(a: Self.turn(pps: 300, p50: 10), b: Self.turn(pps: 300, p50: 20)))
            let ratios = comparison.ratios
            #expect(ratios.map(\.name) == (isSearch ? ["rate"] : ["latency_p50", "latency_p99"]))
            #expect(ratios[0].ratio.rounds == (isSearch ? [1.5, 1] : [0.25, 0.5]))
        }
    }
}
