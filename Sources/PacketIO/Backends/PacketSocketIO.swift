import CSluice
import Wire

/// Backend `packet`: a packet ring a worker, all of them in one PACKET_FANOUT group; answers are
/// turned around in their slots and leave from there by sendmmsg, past the queueing discipline.
///
/// The IP stack is not involved: no route, no neighbour, no socket lookup. A `DropHook` keeps it
/// from working on its copies of the packets; a `PortSink` silences ICMP for what escapes the hook.
/// Outer fragments arrive as one frame (PACKET_FANOUT_FLAG_DEFRAG).
@safe public struct PacketSocketIO: SocketBackend, ~Copyable {
    public static let traits = BackendTraits(
        socket: SocketKind(
            family: AF_PACKET, type: Int32(SOCK_RAW.rawValue), protocolNumber: 0,
            name: "a packet socket"),
        steersByCPU: true, needsInterfaces: true, usesDropHook: true,
        getsMergedPackets: true, takesPort: false,
        offersAllToEach: false, slotOverhead: PacketReceiveRing.networkOffset,
        memory: { frames, frameSize, _ in
            let shape = PacketReceiveRing.Shape(frames: frames, frameSize: frameSize)
            return BackendMemory(ring: shape.byteCount, socketBuffer: 0)
        },
        follow: PacketSocketIO.follow)

    private var ring: PacketReceiveRing
    private var sender: PacketSender
    private let table: FixedTable<Frame>
    private let options: SocketOptions
    private let wake: Int32
    private var drops: UInt64 = 0

    /// Joins the group as its next member, behind a drop-all filter. Workers open in order of
    /// their index: the kernel's index of a socket is the order of joining.
    public init(_ options: SocketOptions) throws(IOFailure) {
        let served = try options.servedNow()
        guard options.address == 0 || served.addresses.count > 0 else {
            throw IOFailure(
                "serve address \(IPv4Address.format(options.address))", errno: EADDRNOTAVAIL)
        }
        // On every interface, whatever is served: a socket on one would not survive it, and members
        // of a fanout group cannot be bound anew.
        var settings = PacketRingOptions()
        settings.frameSize = options.slotSize
        settings.frames = max(1, options.receiveBuffer / options.slotSize)
        settings.filter = Steering.dropAll
        settings.node = options.node
        let ring = try PacketReceiveRing(settings)
        let sender = try PacketSender(
            interface: 0, burst: options.burst,
            bypassesQdisc: options.bypassesQdisc, sendBuffer: Int32(clamping: options.receiveBuffer)
        )
        try ring.listen()
        try options.fanout.join(
            ring.socket, as: options.worker, of: options.workers,
            program: Steering.selector(
                from: .outerIPv4, workers: options.workers, mode: options.steering))
        table = unsafe FixedTable(
            count: options.burst,
            repeating: Frame(base: UnsafeMutableRawPointer(bitPattern: 64)!, length: 0, room: 0))
        self.ring = ring
        self.sender = sender
        self.options = options
        wake = options.waker.descriptor
    }

    /// Lets packets in, once the whole group has joined.
    public mutating func release() throws(IOFailure) {
        try PacketSocketIO.follow(ring.socket.raw, options)
    }

    public static func follow(_ socket: Int32, _ options: SocketOptions) throws(IOFailure) {
        let served = try options.servedNow()
        guard served.addresses.count <= PacketFilter.addressLimit else {
            throw IOFailure("serve more than \(PacketFilter.addressLimit) addresses", errno: E2BIG)
        }
        let program = PacketFilter.program(served.addresses, interfaces: served.interfaces)
        try program.attach(to: socket, SOL_SOCKET, SO_ATTACH_FILTER, "the address filter")
    }

    public var frames: UnsafeMutablePointer<Frame> { unsafe table.pointer() }
    public var burstCapacity: Int { table.count }
    public var ringByteCount: Int { ring.byteCount }
    public var socketDescriptor: Int32 { ring.socket.raw }
    public var kernelDrops: UInt64 {
        mutating get {
            drops &+= UInt64(ring.takeDrops())
            return drops
        }
    }

    public mutating func receive() -> Int {
        ring.giveBack()
        let frames = unsafe table.pointer()
        let room = ring.frameSize &- PacketReceiveRing.networkOffset
        var taken = 0
        while taken < table.count, let slot = ring.next() {
            // The filter has read beyond this; without it there is no frame to describe.
            guard slot.networkOffset == Int(ETH_HLEN), slot.length > Int(ETH_HLEN) else { continue }
            let base = unsafe slot.bytes + Int(ETH_HLEN)
            // Another core has just written them.
            unsafe sluice_prefetch_headers(base)
            let length = slot.length &- Int(ETH_HLEN)
            var facts: FrameFacts = []
            if slot.isTruncated { facts.insert(.truncated) }
            if slot.checksumIsVerified { facts.insert(.checksumVerified) }
            if slot.checksumIsPartial {
                // Sound: the slot holds `length` bytes from here on.
                let view = unsafe PacketView(unsafeBase: base, count: length)
                if PacketSocketIO.completeChecksum(view) { facts.insert(.checksumVerified) }
            }
            unsafe frames[taken] = Frame(
                base: base, length: Int32(truncatingIfNeeded: length),
                room: Int32(truncatingIfNeeded: room), facts: facts)
            taken &+= 1
        }
        return taken
    }

    /// Completes an outer UDP checksum that a sender on this host has left to its network card:
    /// the field holds the sum of the pseudo-header (RFC 768), not yet complemented. A field with
    /// another value is not such a one: then the open checksum is one of an inner packet.
    static func completeChecksum(_ view: PacketView) -> Bool {
        guard let ip = IPv4Header(view, at: 0), ip.isWellFormed(available: view.count),
            Int(ip.totalLength) &- ip.headerLength >= UDPHeader.length
        else { return false }
        let length = view.u16(ip.headerLength &+ 4)
        guard length >= UDPHeader.length, ip.headerLength &+ Int(length) <= Int(ip.totalLength)
        else { return false }
        var pseudo = InternetChecksum()
        pseudo.addPseudoHeader(of: view, at: 0, version: 4, IPProtocol.udp, length: Int(length))
        guard view.u16(ip.headerLength &+ 6) == ~pseudo.checksum else { return false }
        var sum = InternetChecksum()
        sum.add(view, at: ip.headerLength, count: Int(length))
        let checksum = sum.checksum
        view.set16(ip.headerLength &+ 6, checksum == 0 ? 0xFFFF : checksum)
        return true
    }

    public mutating func transmit(_ count: Int) -> TransmitReport {
        for i in 0..<count {
            let answer = unsafe table.pointer(i).pointee
            guard answer.isAnswer else { continue }
            let frame = unsafe answer.base - Int(ETH_HLEN)
            unsafe PacketSocketIO.swapHardwareAddresses(frame)
            let length = Int(answer.length) &+ Int(ETH_HLEN)
            // By the interface that it came in by.
            unsafe sender.add(frame, length: length, to: PacketSlot.address(ofFrame: frame))
        }
        var report = sender.flush()
        report.bytes &-= report.packets &* Int(ETH_HLEN)
        return report
    }

    /// An Ethernet header starts with destination and source, six bytes each.
    @unsafe @inline(__always)
    private static func swapHardwareAddresses(_ frame: UnsafeMutableRawPointer) {
        let high = unsafe frame.loadUnaligned(as: UInt32.self)
        let low = unsafe frame.loadUnaligned(fromByteOffset: 4, as: UInt16.self)
        let other = unsafe frame.loadUnaligned(fromByteOffset: 6, as: UInt32.self)
        let rest = unsafe frame.loadUnaligned(fromByteOffset: 10, as: UInt16.self)
        unsafe frame.storeBytes(of: other, as: UInt32.self)
        unsafe frame.storeBytes(of: rest, toByteOffset: 4, as: UInt16.self)
        unsafe frame.storeBytes(of: high, toByteOffset: 6, as: UInt32.self)
        unsafe frame.storeBytes(of: low, toByteOffset: 10, as: UInt16.self)
    }

    public mutating func wait(milliseconds: Int32) {
        ring.wait(milliseconds: milliseconds, wake: wake)
    }
    public mutating func pause(milliseconds: Int32) { _ = sluice_wait(-1, wake, milliseconds) }
    public mutating func now() -> UInt64 { sluice_monotonic_ns() }
}
