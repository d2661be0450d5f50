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
    public static func worker(of view: PacketView, from start: Start, workers: Int) -> Int? {
        var geneve = 0
        if start == .outerIPv4 {
            guard view.count >= 1 else { return 0 }
            let udp = Int(view.u8(0) & 0x0F) * 4
            guard view.count - udp >= 4 else { return 0 }
            guard view.u16(udp + 2) == GeneveHeader.port else { return nil }
            geneve = udp + UDPHeader.length
        }
        guard let hash = FlowHash.ofPacket(view, geneveAt: geneve) else { return 0 }
        return FlowHash.worker(hash, of: workers)
    }

    /// Accepts nothing: for sinks, and for sockets of a group that is not complete yet.
    public static let dropAll: [sock_filter] = {
        var a = BPFAssembler()
        a.returnValue(0)
        return a.assemble()
    }()

    /// How packets find their worker.
    public enum Mode: Equatable, Sendable {
        /// By the hash of their flow: both directions of one meet at one worker.
        case flow
        /// By the CPU that received them, which follows the network card's queues. The list has
        /// the CPU of each worker.
        case cpu([Int])
    }

    /// For SO_ATTACH_REUSEPORT_CBPF and PACKET_FANOUT_CBPF: returns the worker's index.
    public static func selector(from start: Start, workers: Int, mode: Mode) -> [sock_filter] {
        switch mode {
        case .flow: selector(from: start, workers: workers)
        case .cpu(let cpus): cpuSelector(cpus)
        }
    }

    /// The worker on the receiving CPU itself; a CPU without one has its packets go to the worker
    /// of its number modulo their count.
    private static func cpuSelector(_ cpus: [Int]) -> [sock_filter] {
        var a = BPFAssembler()
        a.load(ancillary: SKF_AD_CPU)
        for (worker, cpu) in cpus.enumerated() {
            let next = a.label()
            a.jump(ifNotEqual: UInt32(cpu), to: next)
            a.returnValue(UInt32(worker))
            a.place(next)
        }
        a.modulo(UInt32(cpus.count))
        a.returnA()
        return a.assemble()
    }

    /// By the flow hash.
    public static func selector(from start: Start, workers: Int) -> [sock_filter] {
        build(start, workers) { a, isReadable in
            if isReadable { a.returnA() } else { a.returnValue(0) }
        }
    }

    /// For SO_ATTACH_FILTER on the raw socket of one worker: all of the packet, or nothing.
    public static func filter(worker: Int, workers: Int) -> [sock_filter] {
        build(.outerIPv4, workers) { a, isReadable in
            guard isReadable else { return a.returnValue(worker == 0 ? HeaderBits.wholePacket : 0) }
            let no = a.label()
            a.jump(ifNotEqual: UInt32(worker), to: no)
            a.returnValue(HeaderBits.wholePacket)
            a.place(no)
            a.returnValue(0)
        }
    }

    // Scratch cells.
    private static let inner: BPFAssembler.Cell = 0
    private static let transport: BPFAssembler.Cell = 1
    private static let next: BPFAssembler.Cell = 2
    private static let source: BPFAssembler.Cell = 3
    private static let destination: BPFAssembler.Cell = 4
    private static let scratch: BPFAssembler.Cell = 5

    /// The program: `finish` ends it, with the worker in A when the packet could be read.
    private static func build(
        _ start: Start, _ workers: Int, finish: (inout BPFAssembler, Bool) -> Void
    ) -> [sock_filter] {
        var a = BPFAssembler()
        let ends = Ends(
            unreadable: a.label(), foreign: a.label(), ports: a.label(), portless: a.label())
        readUsualPacket(&a, start, ends)
        findGeneve(&a, start, ends)
        findInner(&a, ends)
        let version6 = a.label()
        a.loadByte(indirect: 0)
        a.shiftRight(4)
        a.jump(ifEqual: 6, to: version6)
        a.jump(ifNotEqual: 4, to: ends.unreadable)
        readIPv4(&a, ends)
        a.place(version6)
        readIPv6(&a, ends)
        a.place(ends.ports)
        addPorts(&a, ends)
        a.place(ends.portless)
        combine(&a, workers)
        finish(&a, true)
        a.place(ends.unreadable)
        finish(&a, false)
        a.place(ends.foreign)
        a.returnValue(0)
        return a.assemble()
    }

    private struct Ends {
        let unreadable, foreign, ports, portless: BPFAssembler.Label
    }

    /// A shortcut for what nearly every packet looks like: no IPv4 options, 32 bytes of Geneve
    /// options, inside a whole TCP or UDP packet over IPv4 without options. Everything then stands
    /// at a fixed place, and the kernel compiles a load from there to an instruction; a load from
    /// a computed place is a call (about 8 ns each). Falls through for all other packets.
    private static func readUsualPacket(_ a: inout BPFAssembler, _ start: Start, _ ends: Ends) {
        let unusual = a.label()
        let hasPorts = a.label()
        let geneve: UInt32 = start == .geneve ? 0 : 28
        let inner = geneve + UInt32(GeneveHeader.fixedLength) + 32
        a.loadLength()
        a.jump(ifLess: inner + 24, to: unusual)
        if start == .outerIPv4 {
            a.loadByte(absolute: 0)
            a.and(HeaderBits.ipv4Length)
            a.jump(ifNotEqual: 5, to: unusual)
            a.loadHalf(absolute: 22)
            a.jump(ifNotEqual: UInt32(GeneveHeader.port), to: ends.foreign)
        }
        a.loadByte(absolute: geneve)
        a.and(HeaderBits.geneveOptions)
        a.jump(ifNotEqual: 8, to: unusual)
        a.loadByte(absolute: inner)
        a.jump(ifNotEqual: HeaderBits.ipv4Plain, to: unusual)
        a.loadHalf(absolute: inner + 6)
        a.jump(ifAnySet: HeaderBits.ipv4Fragment, to: unusual)
        a.loadByte(absolute: inner + 9)
        a.store(cell: next)
        a.jump(ifEqual: UInt32(IPProtocol.udp), to: hasPorts)
        a.jump(ifNotEqual: UInt32(IPProtocol.tcp), to: unusual)
        a.place(hasPorts)
        for (address, port, cell) in [(12, 20, source), (16, 22, destination)]
            as [(UInt32, UInt32, BPFAssembler.Cell)]
        {
            a.loadHalf(absolute: inner + port)
            a.multiply(FlowHash.portFactor)
            a.copyAToX()
            a.loadWord(absolute: inner + address)
            a.addX()
            a.store(cell: cell)
        }
        a.jump(to: ends.portless)
        a.place(unusual)
    }

    /// Leaves the offset of the Geneve header in X.
    private static func findGeneve(_ a: inout BPFAssembler, _ start: Start, _ ends: Ends) {
        guard start == .outerIPv4 else { return a.loadX(0) }
        a.loadLength()
        a.jump(ifLess: 1, to: ends.unreadable)
        a.loadByte(absolute: 0)
        a.and(HeaderBits.ipv4Length)
        a.shiftLeft(2)
        a.copyAToX()
        guardLength(&a, 4, ends)
        a.loadHalf(indirect: 2)
        a.jump(ifNotEqual: UInt32(GeneveHeader.port), to: ends.foreign)
        a.copyXToA()
        a.add(UInt32(UDPHeader.length))
        a.copyAToX()
    }

    /// Leaves the offset of the inner packet in X and in M[inner]; 20 bytes are there.
    private static func findInner(_ a: inout BPFAssembler, _ ends: Ends) {
        guardLength(&a, UInt32(GeneveHeader.fixedLength), ends)
        a.loadByte(indirect: 0)
        a.and(HeaderBits.geneveOptions)
        a.shiftLeft(2)
        a.add(UInt32(GeneveHeader.fixedLength))
        a.addX()
        a.store(cell: inner)
        a.copyAToX()
        guardLength(&a, UInt32(IPv4Header.minimumLength), ends)
    }

    /// Goes to `unreadable` unless `count` bytes follow X.
    private static func guardLength(_ a: inout BPFAssembler, _ count: UInt32, _ ends: Ends) {
        a.loadLength()
        a.jump(ifLessThanXTo: ends.unreadable)
        a.subtractX()
        a.jump(ifLess: count, to: ends.unreadable)
    }

    private static func readIPv4(_ a: inout BPFAssembler, _ ends: Ends) {
        a.loadWord(indirect: 12)
        a.store(cell: source)
        a.loadWord(indirect: 16)
        a.store(cell: destination)
        a.loadByte(indirect: 9)
        a.store(cell: next)
        a.loadByte(indirect: 0)
        a.and(HeaderBits.ipv4Length)
        a.shiftLeft(2)
        a.addX()
        a.store(cell: transport)
        a.loadHalf(indirect: 6)
        a.jump(ifAnySet: HeaderBits.ipv4Fragment, to: ends.portless)
        a.load(cell: next)
        a.jump(ifEqual: UInt32(IPProtocol.udp), to: ends.ports)
        a.jump(ifEqual: UInt32(IPProtocol.tcp), to: ends.ports)
        a.jump(to: ends.portless)
    }

    private static func readIPv6(_ a: inout BPFAssembler, _ ends: Ends) {
        guardLength(&a, UInt32(IPv6Header.length), ends)
        fold(&a, at: 8, into: source)
        fold(&a, at: 24, into: destination)
        a.loadX(cell: inner)
        a.loadByte(indirect: 6)
        a.store(cell: next)
        a.copyXToA()
        a.add(UInt32(IPv6Header.length))
        a.store(cell: transport)
        let done = a.label()
        for _ in 0..<FlowHash.extensionLimit { walkExtension(&a, ends, done) }
        a.load(cell: next)
        for header in [0, 43, 44, 60] as [UInt32] { a.jump(ifEqual: header, to: ends.unreadable) }
        a.place(done)
        a.load(cell: next)
        a.jump(ifEqual: UInt32(IPProtocol.udp), to: ends.ports)
        a.jump(ifEqual: UInt32(IPProtocol.tcp), to: ends.ports)
        a.jump(to: ends.portless)
    }

    /// One step along the extension headers, or on to `done`.
    private static func walkExtension(
        _ a: inout BPFAssembler, _ ends: Ends, _ done: BPFAssembler.Label
    ) {
        let isExtension = a.label()
        let isFragment = a.label()
        let isAtomic = a.label()
        let advance = a.label()
        a.load(cell: next)
        for header in [0, 43, 44, 60] as [UInt32] { a.jump(ifEqual: header, to: isExtension) }
        a.jump(to: done)
        a.place(isExtension)
        a.loadX(cell: transport)
        guardLength(&a, 8, ends)
        a.load(cell: next)
        a.jump(ifEqual: 44, to: isFragment)
        a.loadByte(indirect: 1)
        a.add(1)
        a.shiftLeft(3)
        a.jump(to: advance)
        a.place(isFragment)
        a.loadHalf(indirect: 2)
        a.and(HeaderBits.ipv6Fragment)
        a.jump(ifEqual: 0, to: isAtomic)
        a.loadByte(indirect: 0)
        a.store(cell: next)
        a.jump(to: ends.portless)
        a.place(isAtomic)
        a.load(8)
        a.place(advance)
        a.addX()
        a.store(cell: scratch)
        a.loadByte(indirect: 0)
        a.store(cell: next)
        a.load(cell: scratch)
        a.store(cell: transport)
    }

    /// 16 address bytes at M[inner] + offset in 32 bits, as FlowHash.fold does.
    private static func fold(
        _ a: inout BPFAssembler, at offset: UInt32, into cell: BPFAssembler.Cell
    ) {
        a.loadX(cell: inner)
        a.loadWord(indirect: offset)
        for word in 1..<4 as Range<UInt32> {
            a.multiply(FlowHash.foldFactor)
            a.store(cell: cell)
            a.loadX(cell: inner)
            a.loadWord(indirect: offset + word * 4)
            a.loadX(cell: cell)
            a.addX()
        }
        a.store(cell: cell)
    }

    /// Adds port × factor to each end's address.
    private static func addPorts(_ a: inout BPFAssembler, _ ends: Ends) {
        a.loadX(cell: transport)
        guardLength(&a, 4, ends)
        for (offset, cell) in [(0, source), (2, destination)] as [(UInt32, BPFAssembler.Cell)] {
            a.loadX(cell: transport)
            a.loadHalf(indirect: offset)
            a.multiply(FlowHash.portFactor)
            a.loadX(cell: cell)
            a.addX()
            a.store(cell: cell)
        }
    }

    /// Leaves the worker's index in A.
    private static func combine(_ a: inout BPFAssembler, _ workers: Int) {
        for cell in [source, destination] {
            a.load(cell: cell)
            mix(&a, first: 16, factor: FlowHash.sideFactor, second: 13)
            a.store(cell: cell)
        }
        a.load(cell: source)
        a.loadX(cell: destination)
        a.addX()
        a.loadX(cell: next)
        a.addX()
        mix(&a, first: 16, factor: FlowHash.finalFactor, second: 15)
        a.shiftRight(16)
        a.multiply(UInt32(workers))
        a.shiftRight(16)
    }

    /// A = (A ^ A >> first) × factor; A ^= A >> second.
    private static func mix(
        _ a: inout BPFAssembler, first: UInt32, factor: UInt32, second: UInt32
    ) {
        a.copyAToX()
        a.shiftRight(first)
        a.xorX()
        a.multiply(factor)
        a.copyAToX()
        a.shiftRight(second)
        a.xorX()
    }
}
