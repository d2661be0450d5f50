import Testing

@testable import Generator

@Suite struct PlanTextTests {
    @Test(arguments: [
        ("200kpps", OfferedRate.packetsPerSecond(200_000)), ("50000", .packetsPerSecond(50_000)),
        ("1.5Mpps", .packetsPerSecond(1_500_000)), ("7pps", .packetsPerSecond(7)),
        ("1gbps", .bitsPerSecond(1e9)), ("250Mbps", .bitsPerSecond(2.5e8)), ("max", .flatOut),
    ])
    func ratesAreRead(_ text: String, _ rate: OfferedRate) { #expect(PlanText.rate(text) == rate) }

    @Test(arguments: ["", "0", "-1kpps", "kpps", "1kbs", "nan", "inf", "0x10", "1e3", "1 kpps"])
    func otherRatesAreNot(_ text: String) { #expect(PlanText.rate(text) == nil) }

    @Test func rampsAndSteps() {
        #expect(
            PlanText.ramp("10kpps..200kpps")
                == .ramp(.packetsPerSecond(10_000), .packetsPerSecond(200_000)))
        for wrong in ["10kpps", "10kpps..1gbps", "max..10kpps", "1..2..3"] {
            #expect(PlanText.ramp(wrong) == nil, "\(wrong)")
        }
        #expect(
            PlanText.steps("1kpps,2kpps")
                == .steps([.packetsPerSecond(1000), .packetsPerSecond(2000)]))
        #expect(PlanText.steps("1kpps,max") == nil)
        #expect(PlanText.steps("1kpps,") == nil)
    }

    @Test func durationsCountsAndShares() {
        #expect(PlanText.duration("10s") == 10)
        #expect(PlanText.duration("500ms") == 0.5)
        #expect(PlanText.duration("2m") == 120)
        #expect(PlanText.duration("1h") == 3600)
        #expect(PlanText.duration("3") == 3)
        for wrong in ["", "s", "-1s", "0s", "nans", "1d"] {
            #expect(PlanText.duration(wrong) == nil, "\(wrong)")
        }
        #expect(PlanText.count("10m") == 10_000_000)
        #expect(PlanText.count("1.5k") == 1500)
        #expect(PlanText.count("1.5") == nil)
        #expect(PlanText.share("5%") == 0.05)
        #expect(PlanText.share("0.3") == 0.3)
        #expect(PlanText.share("101%") == nil)
        #expect(PlanText.share("nan") == nil)
    }

    @Test func sizes() throws {
        #expect(PlanText.sizes("128")?.largest == 128)
        #expect(PlanText.sizes("imix")?.sizes.map(\.value) == [64, 576, 1500])
        #expect(PlanText.sizes("64,1500")?.mean == 782)
        let range = try #require(PlanText.sizes("64-1500"))
        #expect(range.smallest == 64 && range.largest == 1500)
        #expect(abs(range.mean - 782) < 1)
        #expect(PlanText.sizes("100-101")?.sizes.map(\.value) == [100, 101])
        for wrong in ["63", "8501", "1500-64", "64-", "", "64,", "big", "64-9000"] {
            #expect(PlanText.sizes(wrong) == nil, "\(wrong)")
        }
    }

    @Test func sharesOfNames() throws {
        let shares = try #require(
            try PlanText.shares("udp=70,tcp,icmp=0") { InnerProtocol(rawValue: $0) })
        #expect(shares.map(\.value) == [.udp, .tcp])
        #expect(shares.map(\.weight) == [70, 1])
        for wrong in ["udp=x", "udp=1=2", "sctp=1", "udp=0", "", "udp=-1"] {
            let shares = try PlanText.shares(wrong) { InnerProtocol(rawValue: $0) }
            #expect(shares?.count == nil, "\(wrong)")
        }
    }
}
