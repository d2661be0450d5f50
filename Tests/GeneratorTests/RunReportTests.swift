import Foundation
import Generator
import Testing

@Suite struct RunReportTests {
    @Test func hasTheKeysOfTheContract() throws {
        let data = try JSONEncoder().encode(RunReport())
        let keys = try #require(JSONSerialization.jsonObject(with: data) as? [String: Any]).keys
        for key in [
            "sent", "received", "expected_drops", "lost", "loss", "violations", "rate_pps",
            "rate_bps", "duration_s", "latency_ns", "generator_limited", "classes", "config",
        ] { #expect(keys.contains(key), "\(key)") }
    }
}
