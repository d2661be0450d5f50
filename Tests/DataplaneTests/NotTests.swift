import PacketIO
import SluiceTesting
import Testing
import Wire

@testable import Dataplane

/// What `not` takes away where the plain evaluator of the model test does not look.
@Suite("Conditions that must not hold")
struct NotTests {
    private func bench(_ refused: [Match.Condition]) throws -> RuleBench {
        var rule = Rule("r")
        rule.terminal = .drop
        rule.match.not = Match(refused)
        var policy = Policy()
        policy.rules = [rule]
        return try RuleBench(policy)
    }

    @Test func `not a new flow is an established one, and the other way round`() throws {
        let there = PacketBuilder(
            PacketBuilder.udp4(1000, 53, [1], source: 0x0A00_0001, destination: 0x0A00_0002)
        ).bytes()
        let back = PacketBuilder(
            PacketBuilder.udp4(53, 1000, [1], source: 0x0A00_0002, destination: 0x0A00_0001)
        ).bytes()
        var dropsNew = try bench([.flow(.established)])
        let new = dropsNew.outcome(of: there)
        #expect(new == .dropped(.rule))
        var dropsEstablished = try bench([.flow(.new)])
        let first = dropsEstablished.outcome(of: there)
        #expect(first != .dropped(.rule))
        let answer = dropsEstablished.outcome(of: back)
        #expect(answer == .dropped(.rule))
    }

    @Test func `a flow that must be new and must not be matches nothing`() throws {
        var rule = Rule("r")
        rule.terminal = .drop
        rule.match = Match([.flow(.new), .not(Match([.flow(.new)]))])
        var policy = Policy()
        policy.rules = [rule]
        var bench = try RuleBench(policy)
        let outcome = bench.outcome(of: PacketBuilder(PacketBuilder.udp4(1, 2, [1])).bytes())
        #expect(outcome != .dropped(.rule))
    }

    @Test(
        arguments: [
            .payload(Match.Payload([[1]])), .sample(2), .rate(Match.Rate(packetsPerSecond: 1)),
            .not(Match([.version(4)])),
        ] as [Match.Condition])
    func `what cannot stand in not is refused`(condition: Match.Condition) throws {
        let error = #expect(throws: PolicyExcess.self) { try bench([condition]) }
        #expect(error?.description == "rule 'r': \(condition.key.rawValue) cannot stand in not")
    }

    @Test func `ranges lose their holes`() {
        func left(_ holes: [ClosedRange<UInt128>], _ ranges: [ClosedRange<UInt128>]?)
            -> [ClosedRange<UInt128>]
        {
            IntervalSet.subtract(holes, from: ranges, last: 100)
        }
        #expect(left([], nil) == [0...100])
        #expect(left([0...100], nil) == [])
        #expect(left([5...9, 8...12, 50...50], nil) == [0...4, 13...49, 51...100])
        #expect(left([0...0, 100...100], nil) == [1...99])
        #expect(left([3...8], [8...9, 0...3]) == [0...2, 9...9])
        #expect(left([1...2], []) == [])
        let most = UInt128.max
        #expect(IntervalSet.subtract([most...most], from: nil, last: most) == [0...most - 1])
    }
}
