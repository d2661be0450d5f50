import CSluice
import Wire

// Scratch cells.
private let inner: BPFAssembler.Cell = 0
private let transport: BPFAssembler.Cell = 1
private let next: BPFAssembler.Cell = 2
private let source: BPFAssembler.Cell = 3
private let destination: BPFAssembler.Cell = 4
private let scratch: BPFAssembler.Cell = 5

private let extensions = (0...255 as ClosedRange<UInt8>).filter(IPv6ExtensionWalk.isExtension)
    .map { UInt32($0) }

/// Writes the classic BPF program that computes `FlowHash` of a packet.
struct SteeringProgram {
    private var a = BPFAssembler()
    private let start: Steering.Start
    private let hash: FlowHash
    /// Where the program goes on.
    private let unreadable, foreign, ports, portless: BPFAssembler.Label

    /// The program: `finish` ends it, with the worker in A when the packet could be read. It returns
    /// 0 for what did not come in by the interfaces `served`, if there are any.
    static func make(
        _ start: Steering.Start, _ workers: Int, _ hash: FlowHash, served: [UInt32]? = nil,
        finish: (inout BPFAssembler, Bool) -> Void
    ) -> [sock_filter] {
        var program = SteeringProgram(start, hash)
        if let served { program.a.requireServed(served, else: program.foreign) }
        program.readUsualPacket()
        program.findGeneve()
        program.findInner()
        program.readInner()
        program.a.place(program.ports)
        program.addPorts()
        program.a.place(program.portless)
        program.combine(workers)
        finish(&program.a, true)
        program.a.place(program.unreadable)
        finish(&program.a, false)
        program.a.place(program.foreign)
        program.a.returnValue(0)
        return program.a.assemble()
    }

    private init(_ start: Steering.Start, _ hash: FlowHash) {
        self.start = start
        self.hash = hash
        unreadable = a.label()
        foreign = a.label()
        ports = a.label()
        portless = a.label()
    }

    /// A shortcut for what nearly every packet looks like: no IPv4 options, 32 bytes of Geneve
    /// options, inside a whole TCP or UDP packet over IPv4 without options. Everything then stands
    /// at a fixed place, and the kernel compiles a load from there to an instruction; a load from
    /// a computed place is a call (about 8 ns each). Falls through for all other packets.
    private mutating func readUsualPacket() {
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
            a.jump(ifNotEqual: UInt32(GeneveHeader.port), to: foreign)
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
            if hash.coversPorts {
                a.loadHalf(absolute: inner + port)
                a.multiply(hash.portFactor)
                a.copyAToX()
            }
            a.loadWord(absolute: inner + address)
            if hash.coversPorts { a.addX() }
            a.store(cell: cell)
        }
        a.jump(to: portless)
        a.place(unusual)
    }

    /// Leaves the offset of the Geneve header in X.
    private mutating func findGeneve() {
        guard start == .outerIPv4 else { return a.loadX(0) }
        a.loadLength()
        a.jump(ifLess: 1, to: unreadable)
        a.loadByte(absolute: 0)
        a.and(HeaderBits.ipv4Length)
        a.shiftLeft(2)
        a.copyAToX()
        guardLength(4, else: unreadable)
        a.loadHalf(indirect: 2)
        a.jump(ifNotEqual: UInt32(GeneveHeader.port), to: foreign)
        a.copyXToA()
        a.add(UInt32(UDPHeader.length))
        a.copyAToX()
    }

    /// Leaves the offset of the inner packet in X and in M[inner]; 20 bytes are there.
    private mutating func findInner() {
        guardLength(UInt32(GeneveHeader.fixedLength), else: unreadable)
        a.loadByte(indirect: 0)
        a.and(HeaderBits.geneveOptions)
        a.shiftLeft(2)
        a.add(UInt32(GeneveHeader.fixedLength))
        a.addX()
        a.store(cell: inner)
        a.copyAToX()
        guardLength(UInt32(IPv4Header.minimumLength), else: unreadable)
    }

    /// Goes to `label` unless `count` bytes follow X.
    private mutating func guardLength(_ count: UInt32, else label: BPFAssembler.Label) {
        a.loadLength()
        a.jump(ifLessThanXTo: label)
        a.subtractX()
        a.jump(ifLess: count, to: label)
    }

    /// Reads the packet at M[inner], or the one that it quotes.
    private mutating func readInner() {
        let version6 = a.label()
        a.loadByte(indirect: 0)
        a.shiftRight(4)
        a.jump(ifEqual: 6, to: version6)
        a.jump(ifNotEqual: 4, to: unreadable)
        let quote4 = a.label()
        readIPv4(quote: quote4)
        a.place(quote4)
        enterQuote(version: 4, length: UInt32(IPv4Header.minimumLength))
        readIPv4(quote: nil)
        a.place(version6)
        let quote6 = a.label()
        readIPv6(quote: quote6)
        a.place(quote6)
        enterQuote(version: 6, length: UInt32(IPv6Header.length))
        readIPv6(quote: nil)
    }

    /// Goes to the packet that the ICMP error at M[transport] quotes, if it does.
    private mutating func enterQuote(version: UInt32, length: UInt32) {
        a.load(cell: transport)
        a.add(UInt32(ICMPHeader.length))
        a.store(cell: inner)
        a.copyAToX()
        guardLength(length, else: portless)
        a.loadByte(indirect: 0)
        a.shiftRight(4)
        a.jump(ifNotEqual: version, to: portless)
    }

    /// - Parameter quote: where to go on with an error that quotes another packet.
    private mutating func readIPv4(quote: BPFAssembler.Label?) {
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
        a.jump(ifAnySet: HeaderBits.ipv4Fragment, to: portless)
        endWalk(icmp: IPProtocol.icmp, version: 4, quote)
    }

    /// By the protocol in M[next].
    private mutating func endWalk(icmp: UInt8, version: UInt8, _ quote: BPFAssembler.Label?) {
        a.load(cell: next)
        if hash.coversPorts {
            a.jump(ifEqual: UInt32(IPProtocol.udp), to: ports)
            a.jump(ifEqual: UInt32(IPProtocol.tcp), to: ports)
        }
        if let quote {
            a.jump(ifNotEqual: UInt32(icmp), to: portless)
            a.loadX(cell: transport)
            guardLength(1, else: portless)
            a.loadByte(indirect: 0)
            for type in UInt8.min...UInt8.max
            where ICMPHeader.quotes(type: type, version: version) {
                a.jump(ifEqual: UInt32(type), to: quote)
            }
        }
        a.jump(to: portless)
    }

    /// 40 bytes are there, or it is not readable.
    private mutating func readIPv6(quote: BPFAssembler.Label?) {
        a.loadX(cell: inner)
        guardLength(UInt32(IPv6Header.length), else: unreadable)
        fold(at: 8, into: source)
        fold(at: 24, into: destination)
        a.loadX(cell: inner)
        a.loadByte(indirect: 6)
        a.store(cell: next)
        a.copyXToA()
        a.add(UInt32(IPv6Header.length))
        a.store(cell: transport)
        let done = a.label()
        for _ in 0..<FlowHash.extensionLimit { walkExtension(done) }
        a.load(cell: next)
        for header in extensions { a.jump(ifEqual: header, to: brokenChain) }
        a.place(done)
        endWalk(icmp: IPProtocol.icmpv6, version: 6, quote)
    }

    /// Where a chain ends that cannot be followed: the addresses have been read.
    private var brokenChain: BPFAssembler.Label { hash.coversPorts ? unreadable : portless }

    /// One step along the extension headers, or on to `done`.
    private mutating func walkExtension(_ done: BPFAssembler.Label) {
        let isExtension = a.label()
        let isFragment = a.label()
        let isAtomic = a.label()
        let advance = a.label()
        a.load(cell: next)
        for header in extensions { a.jump(ifEqual: header, to: isExtension) }
        a.jump(to: done)
        a.place(isExtension)
        a.loadX(cell: transport)
        guardLength(8, else: brokenChain)
        a.load(cell: next)
        a.jump(ifEqual: UInt32(IPProtocol.ipv6Fragment), to: isFragment)
        a.loadByte(indirect: 1)
        a.add(1)
        a.shiftLeft(3)
        a.jump(to: advance)
        a.place(isFragment)
        a.loadHalf(indirect: 2)
        a.and(UInt32(IPv6ExtensionWalk.fragmentBits))
        a.jump(ifEqual: 0, to: isAtomic)
        // M[next] says fragment: what it names as next does not count.
        a.jump(to: portless)
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
    private mutating func fold(
        at offset: UInt32, into cell: BPFAssembler.Cell
    ) {
        a.loadX(cell: inner)
        a.loadWord(indirect: offset)
        for word in 1..<4 as Range<UInt32> {
            a.multiply(hash.foldFactor)
            a.store(cell: cell)
            a.loadX(cell: inner)
            a.loadWord(indirect: offset + word * 4)
            a.loadX(cell: cell)
            a.addX()
        }
        a.store(cell: cell)
    }

    /// Adds port × factor to each end's address.
    private mutating func addPorts() {
        a.loadX(cell: transport)
        guardLength(4, else: unreadable)
        for (offset, cell) in [(0, source), (2, destination)] as [(UInt32, BPFAssembler.Cell)] {
            a.loadX(cell: transport)
            a.loadHalf(indirect: offset)
            a.multiply(hash.portFactor)
            a.loadX(cell: cell)
            a.addX()
            a.store(cell: cell)
        }
    }

    /// Leaves the worker's index in A.
    private mutating func combine(_ workers: Int) {
        for cell in [source, destination] {
            a.load(cell: cell)
            a.xor(hash.key)
            mix(first: 16, factor: FlowHash.sideFactor, second: 13)
            a.store(cell: cell)
        }
        a.load(cell: source)
        a.loadX(cell: destination)
        a.addX()
        if hash.coversPorts {
            a.loadX(cell: next)
            a.addX()
        }
        mix(first: 16, factor: FlowHash.finalFactor, second: 15)
        a.shiftRight(16)
        a.multiply(UInt32(workers))
        a.shiftRight(16)
    }

    /// A = (A ^ A >> first) × factor; A ^= A >> second.
    private mutating func mix(
        first: UInt32, factor: UInt32, second: UInt32
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
