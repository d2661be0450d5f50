import Dataplane
import Testing
import Wire

// Compile-time proof, in every build: `@_noLocks` makes the compiler refuse a function that may
// allocate, count references, look up metadata or take a lock, together with all it calls.
//
// Only what never touches a PacketView can be gated: Swift 6.3 takes a copy of any ~Escapable
// value for reference counting ("ending the lifetime of a value of type 'PacketView' can cause a
// deallocation"). The parser, the policies and `handle` as a whole are proven on the machine code
// of the release binary instead: tools/hotpath.

@_noLocks
private func gateLookup(
    _ flows: inout FlowTable<NoFlowState>, _ key: FlowKey, _ now: UInt64
) -> Bool {
    let found = flows.find(key, cookie: 1, now: now)
    _ = flows.open(found.slot, isLow: true, isNew: found.isNew)
    flows.follow(found.slot, flags: 4, isLow: true)
    return found.isNew
}

@_noLocks
private func gateState(_ flows: inout FlowTable<UInt64>, _ key: FlowKey) -> UInt64 {
    let found = flows.find(key, cookie: 1, now: 1)
    flows[found.slot] &+= 1
    return flows[found.slot]
}

@_noLocks
private func gateHousekeeping(_ flows: inout FlowTable<NoFlowState>, _ now: UInt64) -> Int {
    flows.sweep(buckets: 8, now: now) &+ flows.live
}

@_noLocks
private func gateCounters(_ counters: CounterBlock, _ endpoint: UInt64) {
    counters.add(.packetsReceived, 64)
    counters.set(.heartbeat, 1)
    counters.addDrop(.rule)
    counters.addBurst(of: 64)
    counters.addRuleHit(0)
    counters.addEndpoint(counters.endpointEntry(endpoint), isForwarded: true)
}

@Suite("Hot path gates")
struct HotPathGateTests {
    @Test func `what compiled under the gates also works`() throws {
        let key = FlowTableTests.key(1)
        var flows = try FlowTable(capacity: 64, node: -1, seed: 1, fresh: NoFlowState())
        #expect(gateLookup(&flows, key, 1))
        #expect(!gateLookup(&flows, key, 2))
        #expect(gateHousekeeping(&flows, 3) == 1)
        #expect(gateHousekeeping(&flows, 20_000_000_000) == 1)
        var states = try FlowTable(capacity: 64, node: -1, seed: 1, fresh: 40 as UInt64)
        #expect(gateState(&states, key) == 41)
        #expect(gateState(&states, key) == 42)
        let counters = try CounterBlock(rules: 1, node: -1)
        gateCounters(counters, 5)
        #expect(counters.read(.packetsReceived) == 64)
        #expect(counters.readEndpoints().first?.endpoint == 5)
    }
}
