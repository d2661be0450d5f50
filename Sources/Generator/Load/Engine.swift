import CSluice
import Glibc
import Histogram
import PacketIO
import Support
import Wire

/// Runs loads against one target, one after the other.
public struct Engine: LoadRunner {
    /// May be changed between runs, but for interface, target and sources.
    public var plan: TrafficPlan
    private let link: Link
    private let stop: StopSignal
    /// Keeps the kernel from answering what comes back with port unreachable.
    private let silence: Silence

    private final class Silence: @unchecked Sendable {
        private let sink: PortSink
        /// Spares the kernel the work on packets that only we want; not every kernel can.
        private let hook: DropHook?

        init(_ link: Link) throws(IOFailure) {
            sink = try PortSink(address: 0)
            hook = try? DropHook(
                interfaces: [link.interface], addresses: link.nodes, followsChanges: false)
        }
    }

    /// Checks interface, addresses and sizes, and finds the appliance's MAC address.
    /// - Throws: `Failure`.
    public init(_ plan: TrafficPlan, stop: StopSignal) throws(Failure) {
        self.plan = plan
        self.stop = stop
        link = try Link(plan)
        do throws(IOFailure) {
            silence = try Silence(link)
        } catch {
            guard error.errno == EADDRINUSE else { throw Failure(error) }
            throw Failure(
                .system,
                "UDP port 6081 is taken on this host: `ss -lunp 'sport = :6081'` names by whom")
        }
    }

    /// What a run without any answer may have met, for people.
    public var whyUnanswered: String {
        let target = IPv4Address.format(plan.target)
        let nodes = link.nodes.map(IPv4Address.format).joined(separator: ", ")
        let host =
            link.isPeerConfigured
            ? "nobody answers ARP for \(target), the MAC address is the one that was set with "
                + "`ip neigh`: is it right, and the host up?"
            : "\(target) answers ARP, so the host is up."
        return "nothing came back. \(host) Does the appliance run there and take UDP port 6081 on "
            + "that address, do its allow-sources have \(nodes), does a firewall or security "
            + "group let UDP 6081 pass both ways? `sluice status` there counts what it drops"
    }

    /// True once a signal has asked to end.
    public var isStopped: Bool { stop.isSet }

    public mutating func run(rate: OfferedRate, seconds: Double) throws -> RunReport {
        var trial = plan
        trial.load = .constant(rate)
        trial.duration = seconds
        trial.count = nil
        return try Self.run(trial, link, stop) { _ in }
    }

    /// The plan's own load.
    /// - Parameter progress: called about once a second with what is known so far.
    public mutating func run(_ progress: (RunReport) -> Void) throws(Failure) -> RunReport {
        try Self.run(plan, link, stop, progress)
    }

    private static func run(
        _ plan: TrafficPlan, _ link: Link, _ stop: StopSignal, _ progress: (RunReport) -> Void
    ) throws(Failure) -> RunReport {
        stop.setRunEnding(false)
        var crew = try Crew(plan, link, stop)
        let start = realtime() + 20_000_000
        let patience = UInt64(max(2, 2 * plan.lateAfter) * 1e9)
        crew.start(at: start)
        var ledger = Ledger(plan, start: start)
        var next = start + 1_000_000_000
        var state = crew.collect()
        while !state.hasEnded {
            let now = realtime()
            stop.wait(milliseconds: Int32(min(next > now ? (next - now) / 1_000_000 : 0, 50)) + 1)
            state = crew.collect()
            ledger.note(state)
            guard realtime() >= next, !state.hasSentAll else { continue }
            ledger.close(state.tally, at: realtime())
            progress(ledger.report)
            next += 1_000_000_000
            if ledger.report.isUnanswered, plan.maxLoss < 1, realtime() - start >= patience {
                stop.setRunEnding(true)
            }
        }
        crew.join()
        state = crew.collect()
        ledger.note(state)
        return ledger.finish(state.tally, wasStopped: stop.endsRun)
    }
}

/// The threads of a run.
struct Crew: ~Copyable {
    private let mailboxes: [Mailbox]
    private var threads: [pthread_t] = []
    private let workers: [Box]

    /// A worker in memory of its own, so that a thread can be given it.
    private final class Box: @unchecked Sendable {
        var worker: LoadWorker
        var start: UInt64 = 0
        init(_ worker: consuming LoadWorker) { self.worker = worker }
    }

    /// Opens everything; no packet is sent yet.
    init(_ plan: TrafficPlan, _ link: Link, _ stop: StopSignal) throws(Failure) {
        let traffic = Traffic(plan, nodes: link.nodes)
        let plan = traffic.plan
        let threads = plan.threads
        guard plan.flows >= threads else {
            throw Failure(
                .usage, "\(threads) threads for \(plan.flows) flows: each thread needs one")
        }
        let popularities = (0..<threads).map {
            Popularity(
                count: (plan.flows - $0 + threads - 1) / threads, exponent: plan.zipf, first: $0,
                stride: threads)
        }
        let weight = popularities.reduce(0) { $0 + $1.weight }
        let bits = traffic.meanBits
        let fanout = FanoutGroup()
        var boxes: [Box] = []
        var mailboxes: [Mailbox] = []
        func schedule(_ share: Double) -> Schedule? {
            plan.load.isFlatOut
                ? nil
                : Schedule(plan.load, seconds: plan.duration, packetBits: bits, share: share)
        }
        let whole = min(schedule(1)?.total ?? .max, plan.count ?? .max)
        var left = whole
        for (i, popularity) in popularities.enumerated() {
            let share = popularity.weight / weight
            var limit = left
            if i + 1 < threads, whole < .max {
                limit = UInt64(Double(whole) * share)
                left -= limit
            }
            let mailbox = Mailbox()
            do throws(IOFailure) {
                boxes.append(
                    Box(
                        try LoadWorker(
                            traffic, link: link, thread: i, schedule: schedule(share), limit: limit,
                            popularity: popularity, fanout: fanout, mailbox: mailbox, stop: stop)))
            } catch {
                throw Failure(error)
            }
            mailboxes.append(mailbox)
        }
        self.mailboxes = mailboxes
        workers = boxes
    }

    mutating func start(at time: UInt64) {
        for box in workers {
            box.start = time
            var thread = pthread_t()
            // Sound: the thread takes over the reference that passRetained adds, once;
            // its name is copied.
            let raw = unsafe Unmanaged.passRetained(box).toOpaque()
            let result = unsafe pthread_create(
                &thread, nil,
                { raw in
                    let box = unsafe Unmanaged<Box>.fromOpaque(raw!).takeRetainedValue()
                    unsafe sluice_name_thread("sluice-gen")
                    box.worker.run(from: box.start)
                    return nil
                }, unsafe raw)
            precondition(result == 0, "the system has no room for a thread")
            threads.append(thread)
        }
    }

    /// All threads together. Latencies are handed over: the next call gives those since this one.
    func collect() -> Mailbox.State {
        var all = Mailbox.State()
        all.hasSentAll = true
        all.hasEnded = true
        for mailbox in mailboxes {
            mailbox.state.withLock { state in
                all.tally.add(state.tally)
                all.latencies.add(state.latencies)
                state.latencies.reset()
                all.hasSentAll = all.hasSentAll && state.hasSentAll
                all.hasEnded = all.hasEnded && state.hasEnded
            }
        }
        return all
    }

    func join() {
        for thread in threads { pthread_join(thread, nil) }
    }
}
