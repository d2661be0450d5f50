import Gateway
import SluiceTesting
import Verification
import Wire

/// An emulator on memory: what hosts send goes in, what an appliance answers goes back, on a
/// clock that stands still unless moved.
struct Bench {
    static let nodes: [UInt32] = [0x0A4D_0001, 0x0A4D_0003]
    static let targets: [UInt32] = [0x0A4D_0002, 0x0A4D_0004]
    static let endpoints: [UInt64] = [0x1234_5678_9abc_def0, 0x0f0f_0000_1111_2222]

    var emulator: GatewayEmulator
    var now: UInt64 = 1_000_000_000

    init(
        _ expectation: Behaviour = .reflect,
        _ change: (inout GatewayEmulator.Settings) -> Void = { _ in }
    ) {
        var settings = GatewayEmulator.Settings(
            nodes: Bench.nodes, targets: Bench.targets, endpoints: Bench.endpoints, seed: 7)
        settings.expectation = expectation
        change(&settings)
        emulator = GatewayEmulator(settings)
    }

    /// A host's packet on its way to the appliance; nil when it is not carried.
    mutating func send(
        _ inner: [UInt8], from side: GatewayEmulator.Side = .a, pair: Int = 0
    ) -> [UInt8]? {
        var outer = [UInt8](repeating: 0xEE, count: Encapsulation.overhead) + inner
        let time = now
        let isSent = withPacketView(&outer) {
            emulator.wrap($0, pair: pair, from: side, at: time)
        }
        return isSent ? outer : nil
    }

    /// An appliance's answer; where it is delivered.
    @discardableResult
    mutating func answer(_ outer: [UInt8]) -> GatewayEmulator.Delivery? {
        var outer = outer
        let time = now
        return withPacketView(&outer) { emulator.unwrap($0, at: time) }
    }

    mutating func advance(seconds: Double) { now += UInt64(seconds * 1e9) }

    var violations: [Violation: UInt64] {
        Dictionary(uniqueKeysWithValues: emulator.violations.nonzero.map { ($0.kind, $0.count) })
    }
}

/// What an honest appliance sends back: the outer addresses swapped, nothing else changed.
func turnedAround(_ outer: [UInt8]) -> [UInt8] {
    Array(outer[0..<12]) + outer[16..<20] + outer[12..<16] + outer[20...]
}

/// The outer lengths and checksums made right for what the packet holds now.
func repaired(_ outer: [UInt8]) -> [UInt8] {
    var p = outer
    p.replaceSubrange(2..<4, with: bigEndian(UInt16(p.count)))
    p.replaceSubrange(10..<12, with: [0, 0])
    p.replaceSubrange(10..<12, with: bigEndian(internetChecksum(Array(p[0..<20]))))
    p.replaceSubrange(24..<26, with: bigEndian(UInt16(p.count - 20)))
    p.replaceSubrange(26..<28, with: [0, 0])
    let sum = transportChecksum(Array(p[12..<16]), Array(p[16..<20]), 17, Array(p[20...]))
    p.replaceSubrange(26..<28, with: bigEndian(sum == 0 ? 0xFFFF : sum))
    return p
}

/// The inner packet of an outer one.
func inner(_ outer: [UInt8]) -> [UInt8] { Array(outer[68...]) }
