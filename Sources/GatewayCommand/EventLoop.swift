import CSluice
import Gateway
import PacketIO
import Support
import Wire

/// The emulator with its wires: TUN devices, the raw sockets, health checks, signals and a
/// clock, in one loop on one thread.
struct EventLoop: ~Copyable {
    private var emulator: GatewayEmulator
    private let options: Options
    private var tuns: [TunBox] = []
    private var receiver: BurstReceiver
    private var sender: BurstSender
    /// Where packets of hosts are read, behind room for the outer header.
    private let slots: BufferRing
    private let sink: PortSink
    private let signals: FileDescriptor
    private var probes: [ProbeBox] = []
    private var undelivered: UInt64 = 0
    private var hasSaidRefused = false

    private static let burst = 64
    /// Packets taken from one device before the others get their turn.
    private static let fairShare = 512
    private static let tick: UInt64 = 100_000_000

    init(_ options: Options) throws(Failure) {
        let stops = [SIGINT, SIGTERM]
        let signals = FileDescriptor(sluice_signal_descriptor(stops, Int32(stops.count)))
        guard signals.raw >= 0 else {
            throw Failure(IOFailure("take signals", errno: -signals.raw))
        }
        for node in options.emulator.nodes { try GatewaySocket.checkIsLocal(node) }
        for pair in options.tunsA.indices {
            tuns.append(TunBox(try TunPort(options.tunsA[pair], pair: pair, side: .a)))
            tuns.append(TunBox(try TunPort(options.tunsB[pair], pair: pair, side: .b)))
        }
        do {
            var socketOptions = SocketOptions(waker: try Waker())
            socketOptions.burst = Self.burst
            let sink = try PortSink(address: 0)
            let receiver = try GatewaySocket.open(socketOptions)
            let sender = try BurstSender(socketOptions)
            let slots = try BufferRing(slots: Self.burst, slotSize: 9216, node: -1)
            self.sink = sink
            self.receiver = receiver
            self.sender = sender
            self.slots = slots
        } catch {
            throw EventLoop.failure(error)
        }
        self.signals = signals
        self.options = options
        emulator = GatewayEmulator(options.emulator)
    }

    private static func failure(_ failure: IOFailure) -> Failure {
        guard failure.errno == EADDRINUSE else { return Failure(failure) }
        return Failure(
            failure,
            advice: "another program or a kernel geneve device has it; the emulator needs a host "
                + "or network namespace of its own")
    }

    /// Runs until SIGINT or SIGTERM. Returns the summary and the number of violations.
    mutating func run() -> (summary: String, violations: UInt64) {
        say(
            "ready: \(options.tunsA.count) pair(s), listening on "
                + options.emulator.nodes.map(IPv4Address.format).joined(separator: ", ")
                + ", targets "
                + options.emulator.targets.map(IPv4Address.format).joined(separator: ", "))
        var nextTick: UInt64 = 0
        while true {
            let now = sluice_monotonic_ns()
            if now >= nextTick {
                nextTick = now + Self.tick
                emulator.keepHouse(at: now)
                startChecks(at: now)
            }
            if !turn(until: nextTick, now) { break }
        }
        takeReturns()
        let more = [
            (name: "undelivered", value: undelivered),
            (name: "kernel_drops", value: receiver.kernelDrops),
        ]
        return (emulator.summary(more), emulator.violations.total)
    }

    /// Waits and serves once what is ready. False when it is time to stop.
    private mutating func turn(until tick: UInt64, _ now: UInt64) -> Bool {
        var entries = [
            pollfd(fd: signals.raw, events: Int16(POLLIN), revents: 0),
            pollfd(fd: receiver.socket.raw, events: Int16(POLLIN), revents: 0),
        ]
        for tun in tuns {
            entries.append(pollfd(fd: tun.descriptor, events: Int16(POLLIN), revents: 0))
        }
        for probe in probes { entries.append(probe.pollEntry) }
        let wait = tick > now ? (tick - now) / 1_000_000 + 1 : 0
        guard poll(&entries, nfds_t(entries.count), Int32(wait)) >= 0 else { return true }
        if entries[0].revents != 0 {
            let signal = sluice_next_signal(signals.raw)
            if signal == SIGINT || signal == SIGTERM { return false }
        }
        for (i, tun) in tuns.enumerated() where entries[2 + i].revents != 0 {
            if entries[2 + i].revents & Int16(POLLIN) != 0 {
                takePackets(tun)
            } else {
                tun.giveUp()
            }
        }
        if entries[1].revents != 0 { takeReturns() }
        advanceChecks(entries[(2 + tuns.count)...])
        return true
    }

    // ---- From the hosts to the appliance.

    private mutating func takePackets(_ tun: TunBox) {
        var left = Self.fairShare
        while left > 0 {
            let now = sluice_monotonic_ns()
            var taken = 0
            var filled = 0
            while taken < Self.burst {
                let slot = slots.slot(filled)
                let length = tun.port.read(
                    into: slot + Encapsulation.overhead,
                    capacity: slots.slotSize - Encapsulation.overhead)
                guard length > 0 else { break }
                taken += 1
                let total = Encapsulation.overhead + length
                // Sound: the slot has room for overhead and what was read behind it.
                let view = PacketView(unsafeBase: slot, count: total)
                if let reset = emulator.reset(
                    view, pair: tun.port.pair, from: tun.port.side, at: now)
                {
                    if hand(slot, to: reset) { emulator.countReset() }
                } else if emulator.wrap(view, pair: tun.port.pair, from: tun.port.side, at: now) {
                    sender.add(
                        Frame(base: slot, length: Int32(total), room: Int32(slots.slotSize)))
                    filled += 1
                }
            }
            let report = sender.flush()
            if report.refused > 0 { noteRefused(report.refused) }
            guard taken == Self.burst else { return }
            left -= taken
        }
    }

    private mutating func noteRefused(_ packets: Int) {
        emulator.countRefused(packets)
        guard !hasSaidRefused else { return }
        hasSaidRefused = true
        say(
            "the kernel refuses packets to the targets: check the route to them, and that the "
                + "interface's MTU is that of the TUN devices plus 68")
    }

    // ---- From the appliance to the hosts.

    private mutating func takeReturns() {
        var left = Self.fairShare
        while left > 0 {
            let now = sluice_monotonic_ns()
            let base = receiver.ring.slot(0) + BurstReceiver.headroom
            let slotSize = receiver.ring.slotSize
            var datagrams: [(index: Int, length: Int)] = []
            let taken = receiver.receive { datagrams.append(($0.index, $0.length)) }
            for (index, length) in datagrams {
                let packet = base + index * slotSize
                // Sound: the datagram lies in its slot.
                let view = PacketView(unsafeBase: packet, count: length)
                if let delivery = emulator.unwrap(view, at: now), hand(packet, to: delivery) {
                    emulator.countDelivered()
                }
            }
            guard taken == Self.burst else { return }
            left -= taken
        }
    }

    /// Gives a host its packet; counts it when the device does not take it.
    private mutating func hand(
        _ packet: UnsafeMutableRawPointer, to delivery: GatewayEmulator.Delivery
    ) -> Bool {
        let tun = tuns[delivery.pair * 2 + delivery.side.rawValue]
        let isTaken = tun.port.write(packet + delivery.offset, count: delivery.length)
        if !isTaken { undelivered += 1 }
        return isTaken
    }

    // ---- Health.

    private mutating func startChecks(at now: UInt64) {
        for target in emulator.group.dueChecks(at: now) {
            let address = emulator.group.targets[target].address
            let probe = HealthProbe(
                target: target, address: address, node: options.emulator.nodes[0],
                options.check, host: "\(IPv4Address.format(address)):\(options.check.port)",
                at: now)
            if let probe {
                probes.append(ProbeBox(probe))
            } else {
                report(target, isSuccess: false)
            }
        }
    }

    private mutating func advanceChecks(_ entries: ArraySlice<pollfd>) {
        guard !probes.isEmpty else { return }
        let now = sluice_monotonic_ns()
        var running: [ProbeBox] = []
        for (probe, entry) in zip(probes, entries) {
            switch probe.advance(events: entry.revents, at: now) {
            case .running: running.append(probe)
            case .finished(let isSuccess): report(probe.target, isSuccess: isSuccess)
            }
        }
        probes = running
    }

    private mutating func report(_ target: Int, isSuccess: Bool) {
        guard let state = emulator.group.report(target, isSuccess: isSuccess) else { return }
        let address = IPv4Address.format(emulator.group.targets[target].address)
        say("target \(address) \(state.rawValue)")
    }
}

/// Arrays cannot hold noncopyable values yet.
private final class TunBox {
    let port: TunPort
    /// What to poll: -1, which poll passes over, once the device is gone.
    private(set) var descriptor: Int32

    init(_ port: consuming TunPort) {
        descriptor = port.device.raw
        self.port = port
    }

    func giveUp() {
        descriptor = -1
        say("TUN device \(port.name) is gone: start again once it is back")
    }
}

private final class ProbeBox {
    private var probe: HealthProbe
    init(_ probe: consuming HealthProbe) { self.probe = probe }
    var target: Int { probe.target }
    var pollEntry: pollfd { probe.pollEntry }
    func advance(events: Int16, at now: UInt64) -> HealthProbe.Progress {
        probe.advance(events: events, at: now)
    }
}
