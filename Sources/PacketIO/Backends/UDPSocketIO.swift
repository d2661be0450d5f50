import CSluice
import Wire

/// Backend `udp`: UDP sockets on 6081 in one SO_REUSEPORT group, steered by classic BPF; answers
/// leave by sendmmsg on an IP_HDRINCL socket, since their source port is not ours.
///
/// A UDP socket hands over no outer header: one is written in front of the payload from what
/// recvmsg says (addresses, port, TTL, TOS), so the worker sees the same outer IPv4 packet as
/// with every other backend.
@safe public struct UDPSocketIO: SocketBackend, ~Copyable {
    public static let traits = BackendTraits(
        socket: SocketKind(
            family: AF_INET, type: Int32(SOCK_DGRAM.rawValue), protocolNumber: 0,
            name: "a UDP socket"),
        steersByCPU: true, needsInterfaces: false, usesDropHook: false,
        getsMergedPackets: false, takesPort: true,
        offersAllToEach: false, slotOverhead: BurstReceiver.headroom,
        memory: BurstReceiver.memory, follow: UDPSocketIO.follow)

    private static var outerLength: Int { IPv4Header.minimumLength + UDPHeader.length }

    /// The first member of the group, if nobody else has made it.
    private let sink: PortSink?
    private var receiver: BurstReceiver
    private var sender: BurstSender
    private let table: FixedTable<Frame>
    private var zeroOuterChecksum: Bool

    /// Joins the group as its next member, behind a drop-all filter. Workers open in order of
    /// their index: the kernel's index of a socket is the order of joining.
    public init(_ options: SocketOptions) throws(IOFailure) {
        let socket = try UDPSocketIO.traits.socket.open()
        try socket.attach(Steering.dropAll, "the drop-all filter")
        try socket.set(SOL_SOCKET, SO_REUSEPORT, 1, "SO_REUSEPORT")
        try socket.set(Int32(IPPROTO_IP), IP_RECVTTL, 1, "IP_RECVTTL")
        try socket.set(Int32(IPPROTO_IP), IP_RECVTOS, 1, "IP_RECVTOS")
        try socket.prepareForBursts(options)
        let isFirst = options.worker == 0 && !options.hasPortSink
        let sink = isFirst ? try PortSink(address: options.address, sharing: true) : nil
        try socket.bind(
            address: options.address, port: GeneveHeader.port, "bind UDP port 6081")
        if options.worker == options.workers - 1 { try UDPSocketIO.follow(socket.raw, options) }
        let receiver = try BurstReceiver(socket: socket, options)
        let sender = try BurstSender(options)
        table = unsafe FixedTable(
            count: options.burst,
            repeating: Frame(base: receiver.ring.slot(0), length: 0, room: 0))
        self.sink = sink
        self.receiver = receiver
        self.sender = sender
        zeroOuterChecksum = options.zeroOuterChecksum
    }

    /// The program of a group is any member's to replace.
    private static func follow(_ socket: Int32, _ options: SocketOptions) throws(IOFailure) {
        try Steering.selector(
            behindSink: options.servedNow().interfaces, workers: options.workers,
            mode: options.steering
        ).attach(to: socket, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, "the steering program")
    }

    /// Lets packets in, once the whole group has joined.
    public mutating func release() throws(IOFailure) {
        receiver.startCountingDrops()
        try receiver.socket.detachFilter()
    }

    public var frames: UnsafeMutablePointer<Frame> { unsafe table.pointer() }
    public var burstCapacity: Int { table.count }
    public var kernelDrops: UInt64 { mutating get { receiver.kernelDrops } }
    public var ringByteCount: Int { receiver.ring.byteCount }
    public var socketDescriptor: Int32 { receiver.socket.raw }

    public mutating func receive() -> Int {
        var taken = 0
        let headroom = BurstReceiver.headroom - UDPSocketIO.outerLength
        let frames = unsafe table.pointer()
        let slots = unsafe receiver.ring.slot(0)
        let slotSize = receiver.ring.slotSize
        let result = receiver.receive { datagram in
            let base = unsafe slots + (datagram.index &* slotSize &+ headroom)
            let length = datagram.length &+ UDPSocketIO.outerLength
            var facts: FrameFacts = [.headerVerified, .checksumVerified, .checksumOnTransmit]
            if datagram.isTruncated { facts.insert(.truncated) }
            unsafe UDPSocketIO.writeOuter(base, length, datagram)
            unsafe frames[taken] = Frame(
                base: base, length: Int32(truncatingIfNeeded: length),
                room: Int32(truncatingIfNeeded: slotSize &- headroom), facts: facts)
            taken &+= 1
        }
        return result < 0 ? result : taken
    }

    /// The outer header as it arrived, as far as it is known: ID and DF are not.
    private static func writeOuter(
        _ base: UnsafeMutableRawPointer, _ length: Int, _ datagram: BurstReceiver.Datagram
    ) {
        // Sound: `base` has outerLength bytes of headroom in its slot.
        let view = unsafe PacketView(unsafeBase: base, count: outerLength)
        var ip = IPv4Header()
        ip.typeOfService = datagram.typeOfService
        ip.totalLength = UInt16(truncatingIfNeeded: length)
        ip.timeToLive = datagram.timeToLive
        ip.protocolNumber = IPProtocol.udp
        ip.source = datagram.source
        ip.destination = datagram.destination
        ip.write(to: view)
        var udp = UDPHeader()
        udp.sourcePort = datagram.sourcePort
        udp.destinationPort = GeneveHeader.port
        udp.datagramLength = UInt16(truncatingIfNeeded: length &- IPv4Header.minimumLength)
        udp.write(to: view, at: IPv4Header.minimumLength)
    }

    public mutating func transmit(_ count: Int) -> TransmitReport {
        for i in 0..<count {
            let frame = unsafe table.pointer(i).pointee
            guard frame.isAnswer else { continue }
            if !zeroOuterChecksum { writeChecksum(frame) }
            sender.add(frame)
        }
        return sender.flush()
    }

    /// The outer UDP checksum over pseudo-header, UDP header and payload (RFC 768). The IPv4
    /// header checksum and the ID are the kernel's (raw(7)).
    private func writeChecksum(_ frame: Frame) {
        // Sound: the worker leaves `length` within the slot.
        let view = unsafe PacketView(unsafeBase: frame.base, count: Int(frame.length))
        let udpLength = view.u16(IPv4Header.minimumLength &+ 4)
        view.set16(IPv4Header.minimumLength &+ 6, 0)
        var sum = InternetChecksum()
        sum.addPseudoHeader(of: view, at: 0, version: 4, IPProtocol.udp, length: Int(udpLength))
        sum.add(view, at: IPv4Header.minimumLength, count: Int(udpLength))
        let checksum = sum.checksum
        view.set16(IPv4Header.minimumLength &+ 6, checksum == 0 ? 0xFFFF : checksum)
    }

    public mutating func sendsZeroChecksum(_ isZero: Bool) { zeroOuterChecksum = isZero }
    public mutating func wait(milliseconds: Int32) { receiver.wait(milliseconds: milliseconds) }
    public mutating func pause(milliseconds: Int32) { receiver.pause(milliseconds: milliseconds) }
    public mutating func now() -> UInt64 { sluice_monotonic_ns() }
}

extension FileDescriptor {
    /// What both socket backends ask of a receiving socket.
    public borrowing func prepareForBursts(_ options: SocketOptions) throws(IOFailure) {
        try set(Int32(IPPROTO_IP), IP_PKTINFO, 1, "IP_PKTINFO")
        setReceiveBuffer(Int32(clamping: options.receiveBuffer))
    }
}
