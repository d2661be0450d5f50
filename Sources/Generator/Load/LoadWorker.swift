import CSluice
import Glibc
import PacketIO
import Wire

/// Nanoseconds since 1970: the clock of the kernel's receive time stamps.
@inline(__always)
func realtime() -> UInt64 {
    var time = timespec()
    // Sound: the time is a variable of its own; this clock exists always.
    unsafe clock_gettime(CLOCK_REALTIME, &time)
    return UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec)
}

/// One thread of a run: sends its share of the load and judges what comes back, in turn.
///
/// Its memory is allocated at init with the sizes of the plan and freed with the worker, which alone
/// uses it: safe as long as slots stay below `slots` and flows below `flows`.
@safe struct LoadWorker: ~Copyable {
    /// Sent at once, at most; and taken from the ring between two bursts.
    static let burst = 64
    static let returns = 128
    /// A packet sent this long after it was due has missed the schedule, nanoseconds.
    static let slip: UInt64 = 5_000_000
    /// Times between looks at what is rarely due, nanoseconds.
    private static let publishEvery: UInt64 = 50_000_000
    /// Sleeping takes a while to end: shorter waits are spent looking, nanoseconds.
    private static let shortWait: UInt64 = 200_000

    private var verifier: Verifier
    private var ring: PacketReceiveRing
    private var sender: PacketSender
    private let mailbox: Mailbox
    private let stop: StopSignal
    private let frames: UnsafeMutableRawPointer
    private let frameSize: Int
    /// Slots in `frames`: at most `burst`, fewer when frames are large, so that all stay in the cache.
    private let slots: Int
    /// The template whose packet lies in a slot of `frames`, -1 = another packet.
    private let held: UnsafeMutablePointer<Int>

    // Traffic.
    private let model: FlowModel
    private let popularity: Popularity
    private let kinds: [FlowKind]
    private var dice: SplitMix64
    /// Packets sent so far in each direction of each flow of this thread.
    private let sequences: UnsafeMutablePointer<UInt32>
    private let generations: UnsafeMutablePointer<UInt8>
    private let flows: UInt32
    private let thread: UInt32
    private let threads: UInt32
    private let bothDirections: Bool
    private let blog: Bool
    /// Of 2^32: how often a packet is malformed.
    private let malformedChance: UInt64
    private var nextMalformed = 0
    /// The capture's packets of this thread's flows, and the next of them.
    private let replay: [ReplayCorpus.Item]
    private var nextReplay = 0
    /// The flow whose other half of a datagram is next.
    private var unfinished: (flow: UInt32, isReply: Bool)?
    /// Nanoseconds from one flow's end to the next; 0 = never.
    private let churnEvery: Double
    private var churned: UInt64 = 0

    // Load.
    private var schedule: Schedule?
    private let limit: UInt64
    private let seconds: Double
    private let lateAfter: UInt64
    private var sent: UInt64 = 0

    init(
        _ traffic: Traffic, link: Link, thread: Int, schedule: Schedule?, limit: UInt64,
        popularity: Popularity, fanout: FanoutGroup, mailbox: Mailbox, stop: StopSignal
    ) throws(IOFailure) {
        let plan = traffic.plan
        let outer = plan.largestOuter + 16  // a rewrite may make it longer
        var options = PacketRingOptions()
        options.interface = link.index
        options.frameSize = max(outer + 256 + PacketReceiveRing.overhead, 2048)
        options.frames = min(max((64 << 20) / options.frameSize, 4096), 32_768)
        options.filter = ReturnFilter.program()
        let ring = try PacketReceiveRing(options)
        try ring.listen()
        if plan.threads > 1 {
            try fanout.join(
                ring.socket, as: thread, of: plan.threads,
                program: ReturnFilter.steering(threads: plan.threads), defragments: false)
        }
        let sender = try PacketSender(interface: link.index, burst: Self.burst)
        self.ring = ring
        self.sender = sender

        // The IP header behind 14 bytes of Ethernet stands at a multiple of 16.
        frameSize = (outer + 16 + 63) & ~63
        slots = min(Self.burst, max(16, (256 << 10) / frameSize))
        // Sound: headers are written to slots below `slots`, within their first 16 bytes; and zeroes,
        // which calloc gives, are numbers.
        unsafe frames = UnsafeMutableRawPointer.allocate(
            byteCount: frameSize * slots, alignment: 64)
        for i in 0..<slots {
            let header = link.peer + link.own + [0x08, 0x00]
            unsafe (frames + i * frameSize + 2).copyMemory(from: header, byteCount: header.count)
        }

        unsafe held = .allocate(capacity: slots)
        unsafe held.initialize(repeating: -1, count: slots)
        self.thread = UInt32(thread)
        threads = UInt32(plan.threads)
        flows = UInt32((plan.flows - thread + plan.threads - 1) / plan.threads)
        let lanes = Int(flows) * 2 + 2
        unsafe sequences = unsafe calloc(lanes, 4)!.assumingMemoryBound(to: UInt32.self)
        unsafe generations = unsafe calloc(Int(flows) + 1, 1)!.assumingMemoryBound(to: UInt8.self)
        verifier = Verifier(
            traffic, nodes: link.nodes, thread: thread, memory: Self.memory(plan))
        model = traffic.model
        kinds = traffic.library.kinds
        self.popularity = popularity
        dice = SplitMix64(seed: plan.seed &+ UInt64(thread) &* 0x2545_F491_4F6C_DD1D)
        bothDirections = plan.bothDirections
        blog = plan.expectation == .blog
        malformedChance = UInt64(plan.malformed * 4_294_967_296)
        replay = traffic.replay?.items.filter { $0.flow % UInt32(plan.threads) == thread } ?? []
        churnEvery = plan.churn > 0 ? 1e9 * Double(plan.threads) / plan.churn : 0
        self.schedule = schedule
        self.limit = limit
        seconds = plan.duration
        lateAfter = UInt64(plan.lateAfter * 1e9)
        self.mailbox = mailbox
        self.stop = stop
    }

    // Sound: init allocated them, and the last burst has been flushed.
    deinit {
        unsafe frames.deallocate()
        unsafe held.deallocate()
        unsafe free(sequences)
        unsafe free(generations)
    }

    /// Packets to remember: those of a few times the lateness, at 2 million a second if need be.
    private static func memory(_ plan: TrafficPlan) -> Int {
        var packets = 1 << 16
        let wanted = min(plan.lateAfter * 2, 2) * 2_000_000 / Double(plan.threads)
        while Double(packets) < wanted { packets *= 2 }
        return packets
    }

    // ---- The run.

    /// Sends from `start` on (nanoseconds since 1970), then waits for the last packets.
    mutating func run(from start: UInt64) {
        while realtime() < start, !stop.endsRun { usleep(1000) }
        send(from: start)
        publish(hasSentAll: true)
        linger()
        verifier.settle(dueBefore: .max, atMost: .max)
        verifier.settleMalformed()
        publish(hasSentAll: true, hasEnded: true)
    }

    private mutating func send(from start: UInt64) {
        let end = start &+ UInt64(min(seconds, 1e9) * 1e9)
        var nextPublish = start
        var due = start &+ (schedule?.due(0) ?? 0)
        while sent < limit, !stop.endsRun {
            let now = realtime()
            if schedule == nil, now >= end { return }
            var count = 0
            while count < slots, sent < limit {
                if schedule == nil { due = now }
                guard due <= now else { break }
                noteLag(now &- due)
                add(count, due: due)
                count &+= 1
                sent &+= 1
                verifier.tally.lastDue = due
                guard sent < limit, schedule != nil else { continue }
                due = start &+ schedule!.due(sent)
            }
            if count > 0 { flush(now) }
            let returned = receive()
            verifier.settle(dueBefore: now &- lateAfter, atMost: Self.burst * 2)
            if churnEvery > 0 { churn(until: now &- start) }
            if now >= nextPublish {
                publish()
                nextPublish = now &+ Self.publishEvery
            }
            if count == 0, returned == 0 { idle(until: due) }
        }
    }

    /// Takes what still comes back: until nothing is missing, or nothing has come for long.
    private mutating func linger() {
        let quiet = lateAfter &+ lateAfter / 4
        let begin = realtime()
        let deadline = begin &+ 3 &* lateAfter &+ 500_000_000
        var lastReturn = begin
        var nextPublish = begin
        while true {
            let now = realtime()
            if receive() > 0 { lastReturn = now }
            // A moment more for what should not come at all.
            let isComplete = verifier.tally.outstanding == 0
            let patience = isComplete ? min(quiet, 100_000_000) : quiet
            guard now < deadline, now &- lastReturn < patience else { return }
            verifier.settle(dueBefore: now &- lateAfter, atMost: Self.burst * 64)
            if now >= nextPublish {
                publish(hasSentAll: true)
                nextPublish = now &+ Self.publishEvery
            }
            usleep(200)
        }
    }

    private func idle(until due: UInt64) {
        let now = realtime()
        guard due > now else { return }
        if due &- now > Self.shortWait {
            usleep(UInt32(min(due &- now &- Self.shortWait / 2, 1_000_000) / 1000))
        } else {
            // Others may have something to do in the meantime.
            sched_yield()
        }
    }

    private mutating func publish(hasSentAll: Bool = false, hasEnded: Bool = false) {
        verifier.tally.overflow &+= UInt64(ring.takeDrops())
        let tally = verifier.tally
        mailbox.state.withLock { state in
            state.tally = tally
            state.latencies.add(verifier.latencies)
            state.hasSentAll = hasSentAll
            state.hasEnded = hasEnded
        }
        verifier.latencies.reset()
    }

    // ---- Sending.

    /// Makes the next packet in the burst's slot `slot`.
    @inline(__always)
    private mutating func add(_ slot: Int, due: UInt64) {
        // Sound: slot < slots, each with room for the plan's largest packet and its Ethernet header;
        // flow < flows; the library deals numbers of its templates. `send` flushes the burst before
        // it writes a slot again.
        let frame = unsafe frames + (slot &* frameSize &+ 2)
        if malformedChance > 0, dice.next() & 0xFFFF_FFFF < malformedChance {
            unsafe held[slot] = -1
            return unsafe addMalformed(frame)
        }
        if !replay.isEmpty { return unsafe addReplay(frame, due: due) }
        let random = dice.next()
        var flow: UInt32
        var isReply: Bool
        if let (half, direction) = unfinished {
            (flow, isReply) = (half, direction)
        } else {
            flow = popularity.pick(random)
            isReply = bothDirections && random & 1 != 0
        }
        let lane = unsafe sequences + (Int(flow) &* 2 &+ (isReply ? 1 : 0))
        let sequence = unsafe lane.pointee
        unsafe lane.pointee = sequence &+ 1
        let generation = unsafe generations[Int(flow)]
        let number = flow &* threads &+ thread
        let kind = model.kind(number)
        let template = variant(kind, number, sequence, random)
        if kinds[kind].isFragmented { unfinished = sequence & 1 == 0 ? (flow, isReply) : nil }

        verifier.makeRoom()
        let entry = unsafe verifier.templates + template
        unsafe entry.write(
            model.identity(number, generation), isReply: isReply,
            mark: Stamp.of(verifier.log.next), sequence: sequence, to: frame + 14,
            holdsOne: held[slot] == template)
        unsafe held[slot] = template
        let isDropped =
            unsafe entry.pointee.answer < 0
            || entry.pointee.dropsEveryFifth && (sequence & 0xFFFF) % 5 == 0
        verifier.log.add(
            Flight(
                due: due, flow: number, sequence: sequence, template: UInt16(template),
                generation: generation, isReply: isReply, expectsDrop: isDropped))
        unsafe count(Int(entry.pointee.trafficClass), isDropped, entry.pointee.length)
        unsafe sender.add(frame, length: entry.pointee.length &+ 14)
    }

    /// The template of a flow's packet. Both halves of a datagram have the same choice.
    @inline(__always)
    private func variant(
        _ kind: Int, _ flow: UInt32, _ sequence: UInt32, _ random: UInt64
    ) -> Int {
        var place = Int(truncatingIfNeeded: random >> 1) & (TemplateLibrary.variantSlots - 1)
        guard kinds[kind].isFragmented else { return Int(kinds[kind].variants[place]) }
        var dice = SplitMix64(seed: UInt64(flow) << 32 | UInt64(sequence >> 1))
        place = Int(truncatingIfNeeded: dice.next()) & (TemplateLibrary.variantSlots - 1)
        return Int(kinds[kind].variants[place]) &+ Int(sequence & 1)
    }

    private mutating func addMalformed(_ frame: UnsafeMutableRawPointer) {
        let number = nextMalformed
        nextMalformed = (number + 1) % verifier.malformedSent.count
        let packet = verifier.traffic.malformed[number]
        // Sound: as add; MalformedCorpus.largest is part of the plan's largest.
        unsafe (frame + 14).copyMemory(from: packet.bytes, byteCount: packet.bytes.count)
        verifier.malformedSent[number] += 1
        count(Int(TrafficClass.malformed.rawValue), packet.expectsDrop, packet.bytes.count)
        unsafe sender.add(frame, length: packet.bytes.count + 14)
    }

    private mutating func addReplay(_ frame: UnsafeMutableRawPointer, due: UInt64) {
        let item = replay[nextReplay]
        nextReplay = nextReplay + 1 < replay.count ? nextReplay + 1 : 0
        // Sound: as add; the plan's largest packet is the capture's.
        unsafe (frame + 14).copyMemory(from: item.bytes, byteCount: item.bytes.count)
        verifier.noteReplay(item, due: due)
        count(Int(TrafficClass.replay.rawValue), item.expectsDrop, item.bytes.count)
        unsafe sender.add(frame, length: item.bytes.count + 14)
    }

    @inline(__always)
    private mutating func count(_ trafficClass: Int, _ isDropped: Bool, _ length: Int) {
        verifier.tally.classes[trafficClass].sent &+= 1
        if isDropped { verifier.tally.classes[trafficClass].expectedDrops &+= 1 }
        verifier.tally.bytes &+= UInt64(length)
    }

    @inline(__always)
    private mutating func noteLag(_ lag: UInt64) {
        if lag > verifier.tally.behind { verifier.tally.behind = lag }
        if lag > Self.slip { verifier.tally.slipped &+= 1 }
    }

    private mutating func flush(_ now: UInt64) {
        let report = sender.flush()
        verifier.tally.refused &+= UInt64(report.refused)
        verifier.tally.lastSent = now
        if verifier.tally.firstSent == 0 { verifier.tally.firstSent = now }
    }

    /// Ends flows that have lived long enough: the next packets with their tuples belong to new
    /// ones, with cookies of their own.
    private mutating func churn(until time: UInt64) {
        let wanted = UInt64(Double(time) / churnEvery)
        while churned < wanted {
            let flow = Int(churned % UInt64(flows))
            churned &+= 1
            if let unfinished, Int(unfinished.flow) == flow { continue }
            // Sound: flow < flows.
            unsafe generations[flow] &+= 1
            unsafe sequences[flow &* 2] = 0
            unsafe sequences[flow &* 2 &+ 1] = 0
        }
    }

    // ---- Receiving.

    /// Judges what waits in the ring; how many frames.
    private mutating func receive() -> Int {
        var count = 0
        while count < Self.returns, let slot = ring.next() {
            count &+= 1
            guard slot.networkOffset == Int(ETH_HLEN), slot.length > Int(ETH_HLEN),
                !slot.isTruncated
            else { continue }
            let arrival =
                UInt64(slot.seconds) &* 1_000_000_000 &+ UInt64(slot.nanoseconds)
            // Sound: `length` bytes of the frame are in its slot, which is ours until giveBack().
            let view = unsafe PacketView(
                unsafeBase: slot.bytes + Int(ETH_HLEN), count: slot.length &- Int(ETH_HLEN))
            verifier.judge(view, arrival: arrival, isPartial: slot.checksumIsPartial)
        }
        ring.giveBack()
        return count
    }
}
