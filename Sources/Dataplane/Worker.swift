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
    @usableFromInline var outerCheck = OuterCheck()
    @usableFromInline var nextHousekeeping: UInt64 = 0
    @usableFromInline var nextGauges: UInt64 = 0
    /// The table has been swept as far as is due by this time.
    @usableFromInline var sweptUntil: UInt64 = 0
    @usableFromInline var endpoints: EndpointCounter
    @usableFromInline let link: WorkerLink
    private let ownsLink: Bool
    /// Address of the snapshot in force, as in the link.
    @usableFromInline var adopted: UInt64

    /// How long an idle worker sleeps at most: it beats a few times a second.
    @inlinable static var sleepMilliseconds: Int32 { 250 }
    @inlinable static var gaugeInterval: UInt64 { 250_000_000 }
    /// Often: the steps of a sweep through a large table must not hold packets up.
    @inlinable static var housekeepingInterval: UInt64 { 1_000_000 }
    /// The whole table is swept in this time, under load and idle: a flow that is over leaves the
    /// table, and the gauge of live flows, at most this much later.
    @inlinable static var sweepTime: UInt64 { 30_000_000_000 }

    /// A worker with the processor and the settings of the snapshot that was published to its
    /// link; it adopts later ones as they come.
    ///
    /// - Parameters:
    ///   - counters, link: made for this kind of processor.
    /// - Throws: ENOMEM, and what the processor throws.
    public init(
        index: Int, io: consuming IO, link: WorkerLink, flowCapacity: Int, seed: UInt64,
        counters: CounterBlock, node: Int32 = -1
    ) throws {
        let address = link.newest
        let snapshot = Worker.typed(link.snapshot(at: address))
        let processor = try Processor(configuration: snapshot.configuration, worker: index)
        try self.init(
            index: index, io: io, processor: processor, settings: snapshot.settings,
            flowCapacity: flowCapacity, seed: seed, counters: counters, node: node, link: link)
        link.noteAdopted(snapshot.generation)
    }

    /// - Parameter link: nil = one of its own, through which no configuration comes.
    /// - Throws: ENOMEM.
    public init(
        index: Int, io: consuming IO, processor: consuming Processor, settings: PathSettings,
        flowCapacity: Int, seed: UInt64, counters: CounterBlock, node: Int32 = -1,
        link given: WorkerLink? = nil
    ) throws(IOFailure) {
        let size = RewriteSpace.byteCount
        let parts = Processor.parts
        let link = if let given { given } else { try WorkerLink(parts: parts, node: node) }
        // The packet path counts and emits without looking again.
        precondition(counters.partCount >= parts.count, "counters of another processor")
        precondition(link.fits(parts), "the link of another processor")
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
        endpoints = EndpointCounter(counters)
        self.link = link
        ownsLink = given == nil
        adopted = link.newest
        scratchSize = size
        unsafe self.scratch = unsafe scratch
    }

    deinit {
        unsafe sluice_node_free(scratch, scratchSize)
        if ownsLink { unsafe link.free() }
    }

    /// Memory of this worker beside its buffer ring, bytes.
    public var byteCount: Int { flows.byteCount + scratchSize + link.byteCount }

    @inlinable
    static func typed(
        _ snapshot: Snapshot
    ) -> ProcessorSnapshot<Processor.Configuration> {
        guard let typed = snapshot as? ProcessorSnapshot<Processor.Configuration> else {
            preconditionFailure("a snapshot for another processor")
        }
        return typed
    }

    /// Takes over the snapshot that was published last. Once per reload, not per burst: it may
    /// allocate and count references.
    @inlinable @inline(never)
    mutating func adoptSnapshot(_ address: UInt64) {
        adopted = address
        let snapshot = Worker.typed(link.snapshot(at: address))
        settings = snapshot.settings
        processor.adopt(snapshot.configuration)
        link.noteAdopted(snapshot.generation)
    }

    /// One burst: receive, decide, transmit, count. Returns the frames received, or a negative
    /// errno; an error is no progress, so a dead socket stops the heartbeat.
    @inlinable
    public mutating func runBurst() -> Int {
        // Before the snapshot goes that the processor may still use.
        processor.startBurst()
        let newest = link.newest
        if newest != adopted { adoptSnapshot(newest) }
        io.sendsZeroChecksum(settings.zeroOuterChecksum)
        outerCheck = OuterCheck(settings)
        unsafe RewriteSpace(scratch).keep(to: settings)
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
            if unsafe outerCheck.passes(frame) || admits(frame) { unsafe handle(frame, now) }
        }
        let report = io.transmit(received)
        count(received, bytes, report)
        let end = io.now()
        counters.add(.busy, end &- now)
        counters.set(.heartbeat, end)
        return received
    }

    /// Runs bursts until `shouldStop`. Sleeps when nothing waits, unless told to spin.
    ///
    /// - Parameter patience: how long to look for packets before sleeping, nanoseconds, when they
    ///   come close together.
    @inlinable
    public mutating func run(
        spins: Bool, patience: UInt64 = IdleSpin.worthwhile, shouldStop: () -> Bool
    ) {
        var idle = IdleSpin(patience: patience)
        while !shouldStop() {
            let received = runBurst()
            let now = counters.read(.heartbeat)
            if received > 0 {
                idle.noteBurst(at: now)
            } else if received < 0 {
                // A socket that keeps failing must not keep a core busy.
                io.pause(milliseconds: 10)
            } else if !spins, !idle.keepsLooking(at: now) {
                io.wait(milliseconds: Worker.sleepMilliseconds)
            }
        }
    }

    /// Whether a frame that the outer check has not passed is decided at all; counts it when not.
    @unsafe @inlinable @inline(never)
    mutating func admits(_ frame: UnsafeMutablePointer<Frame>) -> Bool {
        guard let reason = unsafe outerCheck.refusal(frame.pointee, settings) else { return true }
        counters.addDrop(reason)
        return false
    }

    /// Decides one frame and, when it is to go back, turns it around in place.
    ///
    /// One function on purpose: the compiler gives up inlining when specialised calls nest deep,
    /// and a layout that is handed over costs as much as parsing it.
    @unsafe @inlinable @inline(never)
    mutating func handle(_ frame: UnsafeMutablePointer<Frame>, _ now: UInt64) {
        let facts = unsafe frame.pointee.facts
        // Sound: the backend vouches for `length` bytes at `base`, and for writing `room` bytes,
        // until the next receive(); room >= length.
        let view = unsafe PacketView(
            unsafeBase: frame.pointee.base, count: Int(frame.pointee.length))
        let roomy = unsafe PacketView(
            unsafeBase: frame.pointee.base, count: Int(frame.pointee.room))
        var layout = PacketLayout()
        let verdict: Verdict
        if let reason = layout.parse(view, facts: facts, settings: settings) {
            let passes =
                reason == .innerMalformed
                && processor.forwardsUndecodable(layout.options, settings)
            verdict = passes ? .forward : .drop(reason)
        } else {
            if layout.isFragment, settings.fragmentsMeetFlows { layout.meetFlow() }
            let found = flows.find(
                layout.flowKey, cookie: layout.options.cookie, now: now)
            // Nearly every packet is one of a known flow that changes nothing about it.
            var hasRoom = true
            var turns = layout.mayTurn
            if found.hasEvents {
                hasRoom = Worker.note(found, counters)
                turns = turns || found.isInRarePhase
            }
            if turns, hasRoom {
                layout.quotesLiveFlow = prepare(
                    found, layout, view.prefix(layout.innerEnd), now)
            }
            if hasRoom {
                var packet = unsafe Packet(
                    roomy, layout, facts: facts, space: RewriteSpace(scratch))
                var context = ProcessorContext<Processor>(
                    now: now, worker: index, counters: counters, link: link)
                verdict = processor.process(&packet, flow: &flows[found.slot], context: &context)
                if packet.isRewritten, verdict == .forward { counters.add(.packetsRewritten) }
                if turns, verdict == .forward { follow(found.slot, layout) }
            } else {
                verdict = .drop(.flowTableFull)
            }
        }
        switch verdict {
        case .drop(let reason):
            counters.addDrop(reason)
            if layout.hasEndpoint { endpoints.count(layout.options.endpoint, isForwarded: false) }
        case .forward:
            IPv4Header.turnAround(roomy, hop: outerCheck.hop)
            // The outer total length: what the parser checked, or a rewrite has set.
            unsafe frame.pointee.length = Int32(truncatingIfNeeded: Int(roomy.u16(2)))
            unsafe frame.pointee.isAnswer = true
            if layout.hasEndpoint { endpoints.count(layout.options.endpoint, isForwarded: true) }
        }
    }

    /// What must be known of a rare packet before anybody decides on it: whether it begins its flow
    /// anew, and whether the flow that it tells of is there. True when that is so.
    @inlinable @inline(never)
    mutating func prepare(
        _ found: FlowTable<Processor.FlowState>.Lookup, _ layout: PacketLayout, _ view: PacketView,
        _ now: UInt64
    ) -> Bool {
        guard layout.protocolNumber == IPProtocol.tcp else {
            guard let quoted = QuotedPacket(view, in: layout, settings) else { return false }
            let slot = flows.peek(quoted.flowKey, now: now)
            return slot >= 0 && Processor.isLive(flows[slot], fromLow: quoted.isLow)
        }
        if !layout.isKeyedAsFragment, TCPFlag.opens(layout.tcpFlags),
            flows.open(found.slot, isLow: layout.isLow, isNew: found.isNew)
        {
            counters.add(.flowsCreated)
            counters.add(.flowsExpired)
        }
        return false
    }

    /// Takes the flow into the phase that a packet of TCP opens.
    @inlinable @inline(never)
    mutating func follow(_ slot: Int, _ layout: PacketLayout) {
        guard !layout.isKeyedAsFragment, layout.protocolNumber == IPProtocol.tcp else { return }
        flows.follow(slot, flags: layout.tcpFlags, isLow: layout.isLow)
    }

    /// Counts what a lookup found. False when the flow found no room. Static: a borrowed worker
    /// would be copied.
    @inlinable @inline(never)
    static func note(
        _ found: FlowTable<Processor.FlowState>.Lookup, _ counters: CounterBlock
    ) -> Bool {
        guard found.slot >= 0 else { return false }
        if found.isNew { counters.add(.flowsCreated) }
        if found.isExpired { counters.add(.flowsExpired) }
        if found.isEvicted { counters.add(.flowsEvicted) }
        if found.isCookieChange { counters.add(.flowCookieChanges) }
        return true
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

    /// Now and then: flows that are over, and gauges.
    @inlinable @inline(never)
    mutating func keepHouse(_ now: UInt64) {
        nextHousekeeping = now &+ Worker.housekeepingInterval
        // The processor may have changed the settings. What has passed is counted by how long
        // flows have been idle, so a change reaches those in the table too.
        flows.lifetimes = settings.lifetimes
        flows.evictsLiveFlows = !settings.dropsWhenFull
        var buckets = dueBuckets(now)
        if now >= nextGauges {
            nextGauges = now &+ Worker.gaugeInterval
            counters.set(.kernelDrops, io.kernelDrops)
            // Of a small table, more than is due.
            buckets = max(1, buckets)
        }
        let expired = flows.sweep(buckets: buckets, now: now)
        if expired > 0 { counters.add(.flowsExpired, UInt64(truncatingIfNeeded: expired)) }
        counters.set(.flowsLive, UInt64(truncatingIfNeeded: flows.live))
    }

    /// Buckets to sweep since the last time: their share of the table is that of the time in
    /// `sweepTime`.
    @inlinable
    mutating func dueBuckets(_ now: UInt64) -> Int {
        let elapsed = now &- sweptUntil
        // At the start the table is empty; after a long stop all of it is due.
        guard elapsed < Worker.sweepTime else {
            let isFirst = sweptUntil == 0
            sweptUntil = now
            return isFirst ? 0 : flows.bucketCount
        }
        let count = UInt64(truncatingIfNeeded: flows.bucketCount)
        let due = elapsed &* count / Worker.sweepTime
        // What is left over is due the next time.
        sweptUntil &+= due &* Worker.sweepTime / count
        return Int(truncatingIfNeeded: due)
    }
}
