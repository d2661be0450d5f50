import Testing
import Wire

@testable import Generator

@Suite struct FlowModelTests {
    private func plan(threads: Int = 1) -> TrafficPlan {
        var plan = TrafficPlan(interface: "eth0", target: 0xC000_0201)
        plan.threads = threads
        plan.endpoints = 3
        return plan
    }

    @Test func aCookieTellsItsFlow() {
        var dice = SplitMix64(seed: 5)
        for _ in 0..<10_000 {
            let flow = UInt32(truncatingIfNeeded: dice.next()) & 0x00FF_FFFF
            let generation = UInt8(truncatingIfNeeded: dice.next())
            let owner = FlowModel.owner(of: FlowModel.cookie(flow, generation))
            #expect(owner.flow == flow && owner.generation == generation)
        }
        #expect(FlowModel.cookie(7, 0) != FlowModel.cookie(7, 1))
    }

    @Test func aFlowIsTheSameEveryTimeAndLikeNoOther() {
        let model = FlowModel(plan(), nodes: [1, 2], kindWeights: [1])
        var clients: Set<UInt32> = []
        for flow in UInt32(0)..<5000 {
            let identity = model.identity(flow, 0)
            #expect(identity == model.identity(flow, 0))
            clients.insert(identity.client)
            #expect(identity.port >= 24_576)
            #expect(identity.client >> 24 == 10 && identity.server >> 20 == 0xAC1)
        }
        #expect(clients.count == 5000)
        let ids = (UInt32(0)..<5000).map { model.identity($0, 0) }
        #expect(Set(ids.map(\.endpoint)).count == 3)
        #expect(Set(ids.map(\.node)) == [1, 2])
        #expect(Set(ids.map(\.port)).count > 4500)
    }

    @Test func anewLifeChangesTheCookieAlone() {
        let model = FlowModel(plan(), nodes: [1], kindWeights: [1])
        var reborn = model.identity(9, 1)
        #expect(reborn.cookie != model.identity(9, 0).cookie)
        reborn.cookie = model.identity(9, 0).cookie
        #expect(reborn == model.identity(9, 0))
    }

    @Test(arguments: [1, 2, 3, 7])
    func thePortTellsTheThread(_ threads: Int) {
        let model = FlowModel(plan(threads: threads), nodes: [1], kindWeights: [1])
        for flow in UInt32(0)..<1000 {
            #expect(Int(model.identity(flow, 0).port) % threads == Int(flow) % threads)
        }
    }

    @Test func kindsHaveTheirSharesAmongFewFlows() {
        let model = FlowModel(plan(), nodes: [1], kindWeights: [70, 20, 10])
        let kinds = (UInt32(0)..<100).map { model.kind($0) }
        for (kind, share) in [70, 20, 10].enumerated() {
            #expect(abs(kinds.filter { $0 == kind }.count - share) <= 2)
        }
    }
}

@Suite struct PopularityTests {
    private func counts(_ popularity: Popularity, _ flows: Int, _ draws: Int) -> [Int] {
        var counts = [Int](repeating: 0, count: flows)
        var dice = SplitMix64(seed: 1)
        for _ in 0..<draws { counts[Int(popularity.pick(dice.next()))] += 1 }
        return counts
    }

    @Test func allAlike() {
        let counts = counts(Popularity(count: 100, exponent: 0), 100, 200_000)
        for count in counts { #expect(abs(count - 2000) < 300) }
    }

    @Test(arguments: [0.5, 1.0, 1.5])
    func zipfsLaw(_ exponent: Double) {
        let flows = 1000
        let draws = 1_000_000
        let counts = counts(Popularity(count: flows, exponent: exponent), flows, draws)
        let weights = (0..<flows).map { 1 / power(Double($0 + 1), exponent) }
        let sum = weights.reduce(0, +)
        for (rank, weight) in weights.enumerated() {
            let expected = weight / sum * Double(draws)
            // Six standard deviations.
            #expect(abs(Double(counts[rank]) - expected) < 6 * expected.squareRoot() + 2)
        }
    }

    @Test func threadsShareTheRanks() {
        let all = Popularity(count: 10, exponent: 1)
        let parts = [0, 1].map { Popularity(count: 5, exponent: 1, first: $0, stride: 2) }
        #expect(abs(all.weight - parts[0].weight - parts[1].weight) < 1e-9)
        #expect(parts[0].weight > parts[1].weight)
    }

    private func power(_ base: Double, _ exponent: Double) -> Double {
        exponent == 0.5
            ? base.squareRoot() : exponent == 1 ? base : base * base.squareRoot()
    }
}

@Suite struct FlightLogTests {
    private func flight(_ due: UInt64) -> Flight {
        Flight(
            due: due, flow: 0, sequence: 0, template: 0, generation: 0, isReply: false,
            expectsDrop: false)
    }

    @Test func aChangedByteIsNoStampAnymore() {
        var dice = SplitMix64(seed: 3)
        for _ in 0..<2000 {
            let stamp = Stamp.of(UInt32(truncatingIfNeeded: dice.next()))
            #expect(Stamp.isRight(stamp))
            let change = UInt32(truncatingIfNeeded: dice.next() % 255 + 1)
            for shift in [0, 8, 16, 24] as [UInt32] {
                #expect(!Stamp.isRight(stamp ^ change << shift))
            }
        }
    }

    @Test func packetsAreFoundUntilTheyAreForgotten() {
        var log = FlightLog(capacity: 8)
        #expect(log.number(of: Stamp.of(1)) == nil)
        for due in UInt64(1)...20 {
            if log.isFull { _ = log.settle(dueBefore: .max) }
            log.add(flight(due))
        }
        for number in UInt32(13)...20 {
            #expect(log.number(of: Stamp.of(number)) == number)
            #expect(log.flight(number).pointee.due == UInt64(number))
        }
        #expect(log.number(of: Stamp.of(12)) == nil && log.isForgotten(Stamp.of(12)))
        #expect(log.number(of: Stamp.of(21)) == nil && !log.isForgotten(Stamp.of(21)))
        #expect(log.number(of: Stamp.of(0)) == nil && !log.isForgotten(Stamp.of(0x00FF_FFFF)))
    }

    @Test func packetsAreSettledOnceInOrder() {
        var log = FlightLog(capacity: 8)
        for due in UInt64(1)...5 { log.add(flight(due * 10)) }
        #expect(log.settle(dueBefore: 25)?.pointee.due == 10)
        #expect(log.settle(dueBefore: 25)?.pointee.due == 20)
        #expect(log.settle(dueBefore: 25) == nil)
        #expect(log.settle(dueBefore: .max)?.pointee.due == 30)
    }
}

@Suite struct ReplayWindowTests {
    @Test func returnsAreMatchedInOrderPastLosses() {
        var window = ReplayWindow(contents: 2)
        for number in [UInt32(1), 3, 5] { window.sent(0, number) }
        window.sent(1, 4)
        #expect(window.returned(0, after: 0) == 1)
        // Number 4 of the same flow is back, so that 3 was lost and this is 5.
        #expect(window.returned(1, after: 1) == 4)
        #expect(window.returned(0, after: 4) == 5)
        // And what comes now was overtaken.
        #expect(window.returned(0, after: 5) == 3)
        #expect(window.returned(0, after: 5) == nil)
        window.sent(0, 6)
        window.forget(0, before: 7)
        #expect(window.returned(0, after: 0) == nil)
    }
}

@Suite struct AddressResolutionTests {
    @Test func aRequestAsksForOneAddress() {
        let own: [UInt8] = [2, 0, 0, 0, 0, 1]
        let frame = AddressResolution.request(for: 0x0A00_0002, from: 0x0A00_0001, own: own)
        #expect(
            frame == [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF] + own + [8, 6]
                + [0, 1, 8, 0, 6, 4, 0, 1] + own + [10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2])
    }

    @Test func onlyTheTargetsReplyIsAnAnswer() {
        let peer: [UInt8] = [2, 0, 0, 0, 0, 9]
        let reply: [UInt8] =
            [2, 0, 0, 0, 0, 1] + peer + [8, 6, 0, 1, 8, 0, 6, 4, 0, 2] + peer
            + [10, 0, 0, 2, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1]
        #expect(AddressResolution.answer(reply, from: 0x0A00_0002) == peer)
        #expect(AddressResolution.answer(reply, from: 0x0A00_0003) == nil)
        #expect(AddressResolution.answer(Array(reply.dropLast()), from: 0x0A00_0002) == nil)
        var request = reply
        request[21] = 1
        #expect(AddressResolution.answer(request, from: 0x0A00_0002) == nil)
    }
}
