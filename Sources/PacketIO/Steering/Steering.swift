import CSluice
import Wire

/// Which worker gets which packet: the same answer in Swift and in classic BPF.
///
/// Every load is guarded by the packet's length. What cannot be read goes to worker 0, so for any
/// bytes exactly one worker accepts.
public enum Steering {
    /// Where a program's byte 0 lies.
    public enum Start: Sendable {
        /// At the outer IPv4 header: raw sockets, packet fanout.
        case outerIPv4
        /// At the Geneve header: SO_ATTACH_REUSEPORT_CBPF on UDP sockets (the kernel has pulled
        /// the UDP header).
        case geneve
    }

    /// The worker for these bytes; nil when they are UDP to another port.
    public static func worker(
        of view: PacketView, from start: Start, workers: Int, hash: FlowHash = FlowHash()
    ) -> Int? {
        var geneve = 0
        if start == .outerIPv4 {
            guard view.count >= 1 else { return 0 }
            let udp = Int(view.u8(0) & 0x0F) * 4
            guard view.count - udp >= 4 else { return 0 }
            guard view.u16(udp + 2) == GeneveHeader.port else { return nil }
            geneve = udp + UDPHeader.length
        }
        guard let value = hash.ofPacket(view, geneveAt: geneve) else { return 0 }
        return FlowHash.worker(value, of: workers)
    }

    /// Accepts nothing: for sinks, and for sockets of a group that is not complete yet.
    public static let dropAll: [sock_filter] = {
        var a = BPFAssembler()
        a.returnValue(0)
        return a.assemble()
    }()

    /// How packets find their worker.
    public enum Mode: Equatable, Sendable {
        /// By the hash of their flow, or of their addresses: both directions of one meet at one
        /// worker.
        case hash(FlowHash)
        /// By the CPU that received them, which follows the network card's queues. The list has
        /// the CPU of each worker.
        case cpu([Int])

        /// What flows are hashed by.
        var hash: FlowHash { if case .hash(let hash) = self { hash } else { FlowHash() } }
    }

    /// For SO_ATTACH_REUSEPORT_CBPF and PACKET_FANOUT_CBPF: returns the worker's index.
    public static func selector(from start: Start, workers: Int, mode: Mode) -> [sock_filter] {
        switch mode {
        case .hash(let hash): selector(from: start, workers: workers, hash: hash)
        case .cpu(let cpus): cpuSelector(cpus)
        }
    }

    /// The worker on the receiving CPU itself; a CPU without one has its packets go to the worker
    /// of its number modulo their count.
    private static func cpuSelector(
        _ cpus: [Int], behindSink interfaces: [UInt32]? = nil
    ) -> [sock_filter] {
        var a = BPFAssembler()
        let unclaimed = a.label()
        if let interfaces { a.requireServed(interfaces, else: unclaimed) }
        let first: UInt32 = interfaces == nil ? 0 : 1
        a.load(ancillary: SKF_AD_CPU)
        for (worker, cpu) in cpus.enumerated() {
            let next = a.label()
            a.jump(ifNotEqual: UInt32(cpu), to: next)
            a.returnValue(first + UInt32(worker))
            a.place(next)
        }
        a.modulo(UInt32(cpus.count))
        a.add(first)
        a.returnA()
        a.place(unclaimed)
        a.returnValue(0)
        return a.assemble()
    }

    /// For the SO_REUSEPORT group of the workers' UDP sockets, whose first member is a `PortSink`
    /// for what no worker claims.
    static func selector(
        behindSink interfaces: [UInt32], workers: Int, mode: Mode
    ) -> [sock_filter] {
        switch mode {
        case .hash(let hash):
            SteeringProgram.make(.geneve, workers, hash, served: interfaces) { a, isReadable in
                guard isReadable else { return a.returnValue(1) }
                a.add(1)
                a.returnA()
            }
        case .cpu(let cpus): cpuSelector(cpus, behindSink: interfaces)
        }
    }

    /// By the flow hash.
    public static func selector(
        from start: Start, workers: Int, hash: FlowHash = FlowHash()
    ) -> [sock_filter] {
        SteeringProgram.make(start, workers, hash) { a, isReadable in
            if isReadable { a.returnA() } else { a.returnValue(0) }
        }
    }

    /// For SO_ATTACH_FILTER on the raw socket of one worker: all of the packet, or nothing.
    public static func filter(
        worker: Int, workers: Int, hash: FlowHash = FlowHash(), served interfaces: [UInt32]? = nil
    ) -> [sock_filter] {
        SteeringProgram.make(.outerIPv4, workers, hash, served: interfaces) { a, isReadable in
            guard isReadable else { return a.returnValue(worker == 0 ? HeaderBits.wholePacket : 0) }
            let no = a.label()
            a.jump(ifNotEqual: UInt32(worker), to: no)
            a.returnValue(HeaderBits.wholePacket)
            a.place(no)
            a.returnValue(0)
        }
    }
}
