import CSluice
import PacketIO
import Wire

/// The packet loop of one thread: its backend, its processor, its flows, its counters.
///
/// Generic over backend and processor, so that the same loop runs on real sockets, on memory in
/// tests and under fuzzing, and is compiled anew for each pair: on the packet path there is no
/// allocation, no reference count, no lock, no existential and no atomic read-modify-write.
///
/// The walk of a packet: `runBurst` receives; `handle` parses, looks up the flow, asks the
/// processor and turns the packet around; `runBurst` transmits and counts.
@safe
public struct Worker<IO: PacketIO & ~Copyable, Processor: PacketProcessor & ~Copyable>:
    ~Copyable
{
    public var io: IO
    public var processor: Processor
    public var settings: PathSettings
    public var flows: FlowTable<Processor.FlowState>
    public let counters: CounterBlock
    public let index: Int
    @usableFromInline let scratch: UnsafeMutableRawPointer
    @usableFromInline let scratchSize: Int
    @usableFromInline var nextHousekeeping: UInt64 = 0

    /// How long an idle worker sleeps at most: it beats a few times a second.
    @inlinable static var sleepMilliseconds: Int32 { 250 }
    @inlinable static var housekeepingInterval: UInt64 { 250_000_000 }
    /// An idle table is swept once in so many housekeepings (about 30 s).
    @inlinable static var sweepRounds: Int { 120 }

    /// - Throws: ENOMEM.
    public init(
        index: Int, io: consuming IO, processor: consuming Processor, settings: PathSettings,
        flowCapacity: Int, seed: UInt64, counters: CounterBlock, node: Int32 = -1
    ) throws(IOFailure) {
        // No IPv4 packet is longer.
        let size = 1 << 16
        let flows = try FlowTable(
            capacity: flowCapacity, node: node, seed: seed, fresh: Processor.newFlow)
        guard let scratch = unsafe sluice_node_alloc(size, node) else {
            throw IOFailure("allocate \(size) bytes of scratch memory", errno: ENOMEM)
        }
        self.index = index
        self.io = io
        self.processor = processor
        self.settings = settings
        self.flows = flows
        self.counters = counters
        scratchSize = size
        unsafe self.scratch = unsafe scratch
    }

    deinit { unsafe sluice_node_free(scratch, scratchSize) }

    /// Memory of this worker beside its buffer ring, bytes.
    public var byteCount: Int { flows.byteCount + scratchSize }

    /// One burst: receive, decide, transmit, count. Returns the frames received, or a negative
    /// errno; an error is no progress, so a dead socket stops the heartbeat.
    @inlinable
    public mutating func runBurst() -> Int {
        processor.adopt(&settings)
        let received = io.receive()
        let now = io.now()
        if now >= nextHousekeeping { keepHouse(now) }
        guard received > 0 else {
            if received == 0 {
                counters.set(.heartbeat, now)
            } else {
                counters.add(.receiveErrors)
            }
            return received
        }
        // Before any of them is decided: no reader sees more decided than received.
        counters.add(.packetsReceived, UInt64(truncatingIfNeeded: received))
        var bytes: UInt64 = 0
        let frames = unsafe io.frames
        for i in 0..<received {
            // Sound: receive() filled the first `received` descriptors.
            let frame = unsafe frames + i
            bytes &+= unsafe UInt64(truncatingIfNeeded: frame.pointee.length)
            unsafe handle(frame, now)
        }
        let report = io.transmit(received)
        count(received, bytes, report)
        let end = io.now()
        counters.add(.busy, end &- now)
        counters.set(.heartbeat, end)
        return received
    }

    /// Runs bursts until `shouldStop`. Sleeps when nothing waits, unless told to spin.
    @inlinable
    public mutating func run(spins: Bool, shouldStop: () -> Bool) {
        while !shouldStop() {
            let received = runBurst()
            guard received <= 0 else { continue }
            if received < 0 {
                // A socket that keeps failing must not keep a core busy.
                io.pause(milliseconds: 10)
            } else if !spins {
                io.wait(milliseconds: Worker.sleepMilliseconds)
            }
        }
    }

    /// Decides one frame and, when it is to go back, turns it around in place.
    @unsafe @inlinable
    mutating func handle(_ frame: UnsafeMutablePointer<Frame>, _ now: UInt64) {
        let facts = unsafe frame.pointee.facts
        // Sound: the backend vouches for `length` bytes at `base`, and for writing `room` bytes,
        // until the next receive(); room >= length.
        let view = unsafe PacketView(
            unsafeBase: frame.pointee.base, count: Int(frame.pointee.length))
        let roomy = unsafe PacketView(
            unsafeBase: frame.pointee.base, count: Int(frame.pointee.room))
        var packet = unsafe Packet(roomy, facts: facts, settings: settings, scratch: scratch)
        switch decide(&packet, view, facts, now) {
        case .drop(let reason):
            counters.addDrop(reason)
            countEndpoint(packet.layout, isForwarded: false)
        case .forward:
            turnAround(roomy)
            if packet.isRewritten { counters.add(.packetsRewritten) }
            // The outer total length: what the parser checked, or a rewrite has set.
            unsafe frame.pointee.length = Int32(truncatingIfNeeded: Int(roomy.u16(2)))
            unsafe frame.pointee.isAnswer = true
            countEndpoint(packet.layout, isForwarded: true)
        }
    }

    /// Parses the packet, looks up its flow and asks the processor.
    @inlinable @inline(__always)
    mutating func decide(
        _ packet: inout Packet, _ view: PacketView, _ facts: FrameFacts, _ now: UInt64
    ) -> Verdict {
        if let reason = packet.layout.parse(view, facts: facts, settings: settings) {
            let passes = reason == .innerMalformed && settings.forwardsUndecodable
            return passes ? .forward : .drop(reason)
        }
        let isTCP = packet.layout.protocolNumber == IPProtocol.tcp
        let found = flows.find(
            packet.layout.flowKey, cookie: packet.layout.options.cookie, now: now,
            idle: isTCP ? settings.tcpIdle : settings.otherIdle)
        if found.isNew { counters.add(.flowsCreated) }
        if found.isExpired { counters.add(.flowsExpired) }
        if found.isEvicted { counters.add(.flowsEvicted) }
        if found.isCookieChange { counters.add(.flowCookieChanges) }
        // RFC 9293 §3.1: FIN, SYN, RST and ACK are bits 0, 1, 2 and 4.
        if packet.layout.tcpFlags & 0b1_0010 == 0b0_0010 {
            flows.reopen(found.slot, idle: settings.tcpIdle)
        }
        if packet.layout.tcpFlags & 0b101 != 0 {
            flows.close(found.slot, idle: settings.closedIdle)
        }
        var context = ProcessorContext(now: now, worker: index, counters: counters)
        return processor.process(&packet, flow: &flows[found.slot], context: &context)
    }

    /// Swaps the two outer addresses. Ports stay. Both checksums stay right: a ones'-complement
    /// sum does not depend on order (RFC 1071 §2(A)).
    @inlinable @inline(__always)
    func turnAround(_ view: PacketView) {
        let source = view.u32(12)
        view.set32(12, view.u32(16))
        view.set32(16, source)
    }

    /// Counts a packet under its endpoint. Only packets that could be read whole make an entry:
    /// garbage with made-up ids must not use them up.
    @inlinable @inline(__always)
    func countEndpoint(_ layout: PacketLayout, isForwarded: Bool) {
        guard layout.options.present & 1 != 0, layout.transport != 0 else { return }
        counters.addEndpoint(
            counters.endpointEntry(layout.options.endpoint), isForwarded: isForwarded)
    }

    @inlinable @inline(__always)
    func count(_ received: Int, _ bytes: UInt64, _ report: TransmitReport) {
        counters.add(.bytesReceived, bytes)
        counters.add(.packetsForwarded, UInt64(truncatingIfNeeded: report.packets))
        counters.add(.bytesForwarded, UInt64(truncatingIfNeeded: report.bytes))
        counters.addBurst(of: received)
        if report.refused > 0 {
            counters.addDrop(.send, UInt64(truncatingIfNeeded: report.refused))
        }
        if report.retries > 0 {
            counters.add(.sendRetries, UInt64(truncatingIfNeeded: report.retries))
        }
    }

    /// A few times a second: flows that are over, and gauges.
    @inlinable @inline(never)
    mutating func keepHouse(_ now: UInt64) {
        nextHousekeeping = now &+ Worker.housekeepingInterval
        let buckets = max(1, flows.capacity / 8 / Worker.sweepRounds)
        let expired = flows.sweep(buckets: buckets, now: now)
        if expired > 0 { counters.add(.flowsExpired, UInt64(truncatingIfNeeded: expired)) }
        counters.set(.flowsLive, UInt64(truncatingIfNeeded: flows.live))
        counters.set(.kernelDrops, io.kernelDrops)
    }
}
