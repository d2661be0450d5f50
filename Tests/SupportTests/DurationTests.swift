import Support
import Testing

@Suite struct DurationTests {
    @Test(arguments: [
        ("30", Duration.seconds(30)), ("30s", .seconds(30)), ("500ms", .milliseconds(500)),
        ("5m", .seconds(300)), ("2h", .seconds(7200)), ("0.5s", .milliseconds(500)),
        ("0", .zero), ("1.5m", .seconds(90)), (".5", .milliseconds(500)),
        ("0.001ms", .microseconds(1)), ("86400", .seconds(86_400)), ("24h", .seconds(86_400)),
        ("1.001s", .milliseconds(1001)),
    ])
    func `durations are read`(text: String, duration: Duration) {
        #expect(Duration(text: text) == duration)
    }

    @Test(arguments: [
        "", "s", ".", "1.2.3", "-1s", "+1s", "1e3", "1e3s", "0x10", "inf", "nan", "nans", " 1s",
        "1 s",
        "1d", "1S", "1ss", "1us", "٣", "86401", "24.1h",
    ])
    func `other texts are not`(text: String) { #expect(Duration(text: text) == nil) }

    @Test func `the caller says what is too long`() {
        #expect(Duration(text: "61s", atMost: .seconds(60)) == nil)
        #expect(Duration(text: "1m", atMost: .seconds(60)) == .seconds(60))
        #expect(Duration(text: "30h", atMost: .seconds(30 * 24 * 3600)) == .seconds(30 * 3600))
    }

    @Test(arguments: [
        (Duration.zero, "0s"), (.seconds(1), "1s"), (.seconds(30), "30s"), (.seconds(60), "1m"),
        (.seconds(90), "90s"), (.seconds(3600), "1h"), (.seconds(86_400), "24h"),
        (.milliseconds(500), "500ms"), (.milliseconds(1500), "1500ms"),
        (.microseconds(1500), "1.5ms"), (.nanoseconds(1), "0.000001ms"),
        (.nanoseconds(2_000_010), "2.00001ms"),
    ])
    func `durations are written as they are read`(duration: Duration, text: String) {
        #expect(duration.words == text)
        #expect(Duration(text: text) == duration)
    }

    @Test func `nanoseconds and seconds`() {
        #expect(Duration.milliseconds(1500).nanoseconds == 1_500_000_000)
        #expect(Duration.milliseconds(1500).seconds == 1.5)
        #expect(Duration.seconds(-1).nanoseconds == 0)
        #expect(Duration.seconds(Int64.max).nanoseconds == .max)
    }
}
