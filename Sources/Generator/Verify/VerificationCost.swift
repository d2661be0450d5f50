import Wire

/// Runs the verifier on memory, for callgrind, which counts only inside `measured`: what judging
/// one returned packet costs, without receiving it.
public enum VerificationCost {
    /// Judges `packets` packets that came back right, and returns the number of complaints.
    public static func run(_ plan: TrafficPlan, packets: Int) -> UInt64 {
        let nodes: [UInt32] = [0x0A00_0001, 0x0A00_0002]
        let traffic = Traffic(plan, nodes: nodes)
        var verifier = Verifier(traffic, nodes: nodes, thread: 0, memory: 1 << 16)
        let size = (plan.largestOuter + 63) & ~63
        let burst = 64
        // Sound: the memory has room for `burst` of the plan's largest packets.
        let memory = UnsafeMutableRawPointer.allocate(byteCount: size * burst, alignment: 64)
        defer { unsafe memory.deallocate() }
        for first in stride(from: 0, to: packets, by: burst) {
            for i in 0..<burst {
                unsafe send(&verifier, UInt32((first + i) % plan.flows), to: memory + i * size)
            }
            unsafe measured(&verifier, memory, size, burst)
        }
        precondition(verifier.tally.total.received >= UInt64(packets))
        return verifier.tally.violationTotal
    }

    private static func send(
        _ verifier: inout Verifier, _ flow: UInt32, to out: UnsafeMutableRawPointer
    ) {
        let kind = verifier.traffic.library.kinds[verifier.traffic.model.kind(flow)]
        let number = kind.variants[Int(flow) % kind.variants.count]
        // Sound: the library deals numbers of its templates, and `out` has room for the plan's largest.
        let template = unsafe verifier.templates + Int(number)
        let identity = verifier.traffic.model.identity(flow, 0)
        unsafe template.write(
            identity, isReply: false, mark: Stamp.of(verifier.log.next), sequence: 1, to: out)
        let view = unsafe PacketView(unsafeBase: out, count: template.pointee.length)
        view.set32(12, view.u32(16))
        view.set32(16, identity.node)
        verifier.makeRoom()
        verifier.log.add(
            Flight(
                due: 1_000, flow: flow, sequence: 1, template: number, generation: 0,
                isReply: false, expectsDrop: false))
        unsafe verifier.tally.classes[Int(template.pointee.trafficClass)].sent += 1
    }

    @inline(never)
    private static func measured(
        _ verifier: inout Verifier, _ memory: UnsafeMutableRawPointer, _ size: Int, _ count: Int
    ) {
        // Sound: a packet was written to each of `count` places, as long as its header says.
        for i in 0..<count {
            let base = unsafe memory + i * size
            let length = unsafe PacketView(unsafeBase: base, count: 4).u16(2)
            unsafe verifier.judge(
                PacketView(unsafeBase: base, count: Int(length)), arrival: 20_000,
                isPartial: false)
        }
    }
}
