import CSluice

/// How a packet ring is opened.
public struct PacketRingOptions: Sendable {
    /// Index of the interface to listen on; 0 = all.
    public var interface: Int32 = 0
    /// Slots, at least: the ring is rounded up to whole blocks.
    public var frames = 4096
    /// Bytes of one slot; a frame has `frameSize - headroom - PacketReceiveRing.overhead` of them.
    public var frameSize = 9216
    /// Bytes kept free in front of every frame.
    public var headroom = 0
    /// Leave out what this host sends.
    public var ignoresOutgoing = true
    /// SOF_TIMESTAMPING_* for hardware time stamps; 0 = the kernel's own.
    public var timestamps: Int32 = 0
    /// What comes in; byte 0 is the Ethernet header. Nil = everything.
    public var filter: [sock_filter]?
    /// NUMA node of the ring's memory, -1 = any.
    public var node: Int32 = -1

    public init() {}
}

/// An AF_PACKET socket whose frames the kernel writes into memory shared with us: a TPACKET_V2 ring
/// (packet(7)). Receiving is reading memory; no system call, no copy of ours.
///
/// `next()` walks the slots that the kernel has filled; they are ours until `giveBack()`.
@safe public struct PacketReceiveRing: ~Copyable {
    /// Bytes of a slot before an Ethernet frame (tpacket2_hdr, sockaddr_ll, alignment): its network
    /// header starts at 80, its MAC header 14 earlier.
    public static var overhead: Int { networkOffset - Int(ETH_HLEN) }
    /// Bytes of a slot before the network header of an Ethernet frame, without headroom.
    public static var networkOffset: Int { 80 }

    public let socket: FileDescriptor
    /// Slots.
    public let count: Int
    /// Bytes of one slot.
    public let frameSize: Int
    private let memory: UnsafeMutableRawPointer
    /// Bytes of the ring.
    public let byteCount: Int
    private let blockSize: Int
    private let slotsPerBlock: Int
    /// The next slot to read.
    private var head = Place()
    /// The oldest slot that is ours, and how many are.
    private var tail = Place()
    private var taken = 0

    /// A slot. A block rarely divides evenly into slots, so both are kept: where the block starts,
    /// in bytes, and the number of the slot in it.
    private struct Place {
        var block = 0
        var slot = 0
    }

    /// Opens the ring; nothing comes in before `listen()`.
    public init(_ options: PacketRingOptions) throws(IOFailure) {
        // Protocol 0: the socket receives nothing yet.
        let socket = try FileDescriptor.socket(
            AF_PACKET, Int32(SOCK_RAW.rawValue), 0, "a packet socket")
        if let filter = options.filter { try socket.attach(filter, "the filter") }
        try socket.set(
            SOL_PACKET, PACKET_VERSION, Int32(TPACKET_V2.rawValue), "TPACKET_V2")
        if options.headroom > 0 {
            try socket.set(SOL_PACKET, PACKET_RESERVE, Int32(options.headroom), "PACKET_RESERVE")
        }
        if options.ignoresOutgoing {
            try socket.set(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1, "PACKET_IGNORE_OUTGOING")
        }
        if options.timestamps != 0 {
            try socket.set(SOL_PACKET, PACKET_TIMESTAMP, options.timestamps, "PACKET_TIMESTAMP")
        }
        let shape = Shape(frames: options.frames, frameSize: options.frameSize)
        var request = shape.request
        guard unsafe sluice_make_ring(socket.raw, &request, options.node) == 0 else {
            throw IOFailure("allocate a packet ring of \(shape.byteCount >> 20) MiB")
        }
        guard let memory = unsafe sluice_map_ring(socket.raw, shape.byteCount) else {
            throw IOFailure("map the packet ring")
        }
        self.socket = socket
        unsafe self.memory = unsafe memory
        count = Int(request.tp_frame_nr)
        frameSize = shape.frameSize
        byteCount = shape.byteCount
        blockSize = shape.blockSize
        slotsPerBlock = shape.slotsPerBlock
        interface = options.interface
    }

    private let interface: Int32

    deinit { unsafe munmap(memory, byteCount) }

    /// Lets frames in: all protocols, before the IP stack has seen them (ETH_P_ALL).
    public func listen() throws(IOFailure) {
        guard sluice_bind_packet(socket.raw, UInt16(ETH_P_ALL), interface) == 0 else {
            throw IOFailure("bind a packet socket to interface \(interface)")
        }
    }

    /// The next frame that waits, or nil. It is ours until `giveBack()`.
    public mutating func next() -> PacketSlot? {
        let header = unsafe header(head)
        guard taken < count,
            unsafe sluice_slot_status(header) & UInt32(TP_STATUS_USER) != 0
        else { return nil }
        taken &+= 1
        head = after(head)
        return unsafe PacketSlot(header: header)
    }

    /// Gives every slot taken so far back to the kernel: their frames are gone.
    public mutating func giveBack() {
        while taken > 0 {
            unsafe sluice_slot_free(header(tail))
            tail = after(tail)
            taken &-= 1
        }
    }

    /// Frames that found no free slot since the last call, by the kernel's own count.
    public func takeDrops() -> UInt32 { sluice_packet_drops(socket.raw) }

    /// Sleeps until a frame waits, `wake` (an eventfd, or -1) is signalled, or the time is over.
    /// - Precondition: `next()` has just said nil and all slots are given back: the kernel calls
    ///   the socket readable while the slot that it filled last is not free.
    public func wait(milliseconds: Int32, wake: Int32 = -1) {
        _ = sluice_wait(socket.raw, wake, milliseconds)
    }

    @inline(__always)
    private func header(_ place: Place) -> UnsafeMutablePointer<tpacket2_hdr> {
        // Sound: `after` keeps block and slot within the ring.
        unsafe (memory + (place.block &+ place.slot &* frameSize))
            .assumingMemoryBound(to: tpacket2_hdr.self)
    }

    @inline(__always)
    private func after(_ place: Place) -> Place {
        guard place.slot &+ 1 == slotsPerBlock else {
            return Place(block: place.block, slot: place.slot &+ 1)
        }
        let next = place.block &+ blockSize
        return Place(block: next == byteCount ? 0 : next, slot: 0)
    }

    /// How slots lie in blocks: a block is a power of two of pages, as the kernel's allocator
    /// gives them, and holds at least eight slots, so that little is left over.
    public struct Shape: Equatable, Sendable {
        public let frameSize: Int
        public let blockSize: Int
        public let blocks: Int

        public init(frames: Int, frameSize: Int) {
            precondition(frames > 0 && frameSize >= 256)
            self.frameSize = (frameSize + 63) & ~63
            var size = 1 << 16
            while size < self.frameSize * 8 { size *= 2 }
            blockSize = size
            let each = size / self.frameSize
            blocks = (frames + each - 1) / each
        }

        public var slotsPerBlock: Int { blockSize / frameSize }
        public var byteCount: Int { blocks * blockSize }

        fileprivate var request: tpacket_req {
            tpacket_req(
                tp_block_size: UInt32(blockSize), tp_block_nr: UInt32(blocks),
                tp_frame_size: UInt32(frameSize), tp_frame_nr: UInt32(blocks * slotsPerBlock))
        }
    }
}

/// One frame in a slot of a packet ring.
@safe public struct PacketSlot: BitwiseCopyable {
    private let header: UnsafeMutablePointer<tpacket2_hdr>

    init(header: UnsafeMutablePointer<tpacket2_hdr>) { unsafe self.header = unsafe header }

    /// TP_STATUS_*.
    public var status: UInt32 { unsafe header.pointee.tp_status }
    /// The first byte of the frame: its MAC header.
    public var bytes: UnsafeMutableRawPointer {
        // Sound: the kernel has written the frame there, within the slot.
        unsafe UnsafeMutableRawPointer(header) + Int(header.pointee.tp_mac)
    }
    /// Bytes from the start of the slot to the frame.
    public var offset: Int { unsafe Int(header.pointee.tp_mac) }
    /// Bytes of the frame that are here.
    public var length: Int { unsafe Int(header.pointee.tp_snaplen) }
    /// Bytes of the frame as it was on the wire.
    public var wireLength: Int { unsafe Int(header.pointee.tp_len) }
    /// Bytes from the frame's first one to its network header.
    public var networkOffset: Int {
        unsafe Int(header.pointee.tp_net) &- Int(header.pointee.tp_mac)
    }

    /// The frame is longer than what is here.
    public var isTruncated: Bool { unsafe header.pointee.tp_snaplen < header.pointee.tp_len }
    /// The transport checksum holds the sum of the pseudo-header only: the sender left the rest to
    /// its network card, and no wire was on the way.
    public var checksumIsPartial: Bool { status & UInt32(TP_STATUS_CSUMNOTREADY) != 0 }
    /// The network card or the kernel has verified the transport checksum.
    public var checksumIsVerified: Bool { status & UInt32(TP_STATUS_CSUM_VALID) != 0 }

    /// The kernel has taken a VLAN tag out of the frame.
    public var hasVLANTag: Bool { status & UInt32(TP_STATUS_VLAN_VALID) != 0 }
    /// Tag control information (IEEE 802.1Q): priority and VLAN identifier.
    public var vlanTag: UInt16 { unsafe header.pointee.tp_vlan_tci }
    /// The tag's EtherType, 0x8100 or 0x88A8.
    public var vlanProtocol: UInt16 { unsafe header.pointee.tp_vlan_tpid }

    /// When the kernel got the frame, since 1970: seconds and nanoseconds.
    public var seconds: UInt32 { unsafe header.pointee.tp_sec }
    public var nanoseconds: UInt32 { unsafe header.pointee.tp_nsec }

    /// Where the frame came from: interface, packet type.
    public var address: UnsafeMutablePointer<sockaddr_ll> {
        // Sound: the kernel writes a sockaddr_ll behind the header (packet_mmap.rst).
        unsafe (UnsafeMutableRawPointer(header) + PacketSlot.addressOffset)
            .assumingMemoryBound(to: sockaddr_ll.self)
    }

    /// The same, from the first byte of an Ethernet frame in a ring without headroom.
    @unsafe static func address(
        ofFrame frame: UnsafeMutableRawPointer
    ) -> UnsafeMutablePointer<sockaddr_ll> {
        unsafe (frame - PacketReceiveRing.overhead + addressOffset)
            .assumingMemoryBound(to: sockaddr_ll.self)
    }

    /// TPACKET_ALIGN(sizeof(struct tpacket2_hdr)).
    private static var addressOffset: Int { 32 }
}
