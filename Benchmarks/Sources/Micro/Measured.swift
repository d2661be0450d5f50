import CSluice
import SluiceCore
import SluiceTesting

// What callgrind counts: never inlined, so that their names stand in the program.

@inline(never) @_optimize(none)
func dumpMark() {}

/// Keeps a result from being optimised away.
@inline(never) @_optimize(none)
func sink(_ value: UInt64) {}

@inline(never)
func measuredParse(_ frames: UnsafeMutablePointer<Frame>, _ count: Int) {
    let settings = PathSettings()
    var failures: UInt64 = 0
    for i in 0..<count {
        let view = PacketView(unsafeBase: frames[i].base, count: Int(frames[i].length))
        var layout = PacketLayout()
        if layout.parse(view, facts: frames[i].facts, settings: settings) != nil { failures &+= 1 }
        failures &+= UInt64(layout.payload)
    }
    sink(failures)
}

@inline(never)
func measuredHash(_ keys: [FlowKey]) -> UInt64 {
    var all: UInt64 = 0
    for key in keys { all ^= key.hash(seed: 1) }
    return all
}

@inline(never)
func measuredSteering(_ view: PacketView, _ rounds: Int) -> UInt64 {
    var all: UInt64 = 0
    for _ in 0..<rounds {
        all &+= UInt64(FlowHash().ofPacket(view, geneveAt: 28) ?? 0)
        // A store, so that no round stands for all.
        view.set8(view.count - 1, UInt8(truncatingIfNeeded: all))
    }
    return all
}

@inline(never)
func measuredLookup(_ table: inout FlowTable<NoFlowState>, _ keys: [FlowKey]) -> UInt64 {
    var new: UInt64 = 0
    for key in keys where table.find(key, cookie: 1, now: 2).isNew { new &+= 1 }
    return new
}

@inline(never)
func measuredChecksum(_ view: PacketView, _ rounds: Int) -> UInt64 {
    var all: UInt64 = 0
    for _ in 0..<rounds {
        var sum = InternetChecksum()
        sum.add(view, at: 0, count: view.count)
        all &+= UInt64(sum.folded)
        view.set8(0, UInt8(truncatingIfNeeded: all))
    }
    return all
}

@inline(never)
func measuredSearch(_ hay: [UInt8], _ rounds: Int) -> UInt64 {
    let needle = Array("drop me".utf8)
    var found: UInt64 = 0
    for _ in 0..<rounds where sluice_find(hay, hay.count, needle, needle.count) >= 0 { found += 1 }
    return found
}

@inline(never)
func measuredEither(_ hay: [UInt8], _ rounds: Int) -> UInt64 {
    let a = Array("drop me".utf8)
    let b = Array("weakly typed".utf8)
    var found: UInt64 = 0
    for _ in 0..<rounds
    where sluice_find_either(hay, hay.count, a, a.count, b, b.count).at >= 0 { found += 1 }
    return found
}

@inline(never)
func measuredRounds<P: PacketProcessor>(_ worker: inout Worker<MemoryIO, P>) {
    while worker.runBurst() > 0 {}
}
