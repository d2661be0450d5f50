import Glibc

/// A sent packet, as far as it must be known to judge what comes back.
struct Flight: BitwiseCopyable {
    /// When it was due to be sent, nanoseconds since 1970.
    var due: UInt64
    var flow: UInt32
    var sequence: UInt32
    var template: UInt16
    /// The flow's life.
    var generation: UInt8
    private var flags: UInt8

    init(
        due: UInt64, flow: UInt32, sequence: UInt32, template: UInt16, generation: UInt8,
        isReply: Bool, expectsDrop: Bool
    ) {
        self.due = due
        self.flow = flow
        self.sequence = sequence
        self.template = template
        self.generation = generation
        flags = (isReply ? 1 : 0) | (expectsDrop ? 2 : 0)
    }

    /// From server to client.
    var isReply: Bool { flags & 1 != 0 }
    /// Should not come back.
    var expectsDrop: Bool { flags & 2 != 0 }
    /// Has come back.
    var isBack: Bool { flags & 4 != 0 }
    /// Counted as lost, so far.
    var isLost: Bool { flags & 8 != 0 }

    mutating func noteBack() { flags = flags & ~8 | 4 }
    mutating func noteLost() { flags |= 8 }
}

/// What a packet carries to be known by: the low 24 bits of its number, and above them a check of
/// those, so that no change of a single byte makes it another packet's.
enum Stamp {
    @inline(__always)
    static func of(_ number: UInt32) -> UInt32 {
        let low = number & 0x00FF_FFFF
        return UInt32(check(low)) << 24 | low
    }

    @inline(__always)
    static func isRight(_ stamp: UInt32) -> Bool {
        UInt8(truncatingIfNeeded: stamp >> 24) == check(stamp)
    }

    /// The three low bytes, each turned by another number of bits, added without carry.
    @inline(__always)
    private static func check(_ low: UInt32) -> UInt8 {
        let b = UInt8(truncatingIfNeeded: low >> 8)
        let c = UInt8(truncatingIfNeeded: low >> 16)
        return 0x5A ^ UInt8(truncatingIfNeeded: low) ^ (b << 1 | b >> 7) ^ (c << 3 | c >> 5)
    }
}

/// The packets that a thread has sent lately, by their numbers: consecutive from 1, and written
/// into the packets themselves as stamps. A ring; the oldest are forgotten.
///
/// The ring belongs to the log, and every index goes through the mask: safe for any number.
@safe struct FlightLog: ~Copyable {
    private let ring: UnsafeMutablePointer<Flight>
    private let mask: UInt32
    /// The number of the next packet.
    private(set) var next: UInt32 = 1
    /// Packets in the ring.
    private var held: UInt32 = 0
    /// All packets ever.
    private var total: UInt64 = 0
    /// The oldest one that has not been looked at by `settle`.
    private var unsettled: UInt32 = 1

    /// - Parameter capacity: packets; a power of two, up to half of what a stamp tells apart.
    init(capacity: Int) {
        precondition(capacity > 0 && capacity & (capacity - 1) == 0 && capacity <= 1 << 23)
        // Zero pages that take no memory before they are used.
        // Sound: room for `capacity` flights, for which zeroes are as good as any value.
        unsafe ring = unsafe calloc(capacity, MemoryLayout<Flight>.stride)!
            .assumingMemoryBound(to: Flight.self)
        mask = UInt32(capacity - 1)
    }

    // Sound: init allocated it; pointers to flights are not kept.
    deinit { unsafe free(ring) }

    /// Notes the packet `next`.
    /// - Precondition: `isFull` is false.
    @inline(__always)
    mutating func add(_ flight: Flight) {
        // Sound: the mask keeps the index within the ring.
        unsafe ring[Int(next & mask)] = flight
        next &+= 1
        total &+= 1
        if held <= mask { held &+= 1 }
    }

    /// Packets that are remembered.
    var count: UInt32 { held }

    /// The next packet would take the place of one that has not been settled.
    @inline(__always)
    var isFull: Bool { next &- unsettled > mask }

    /// The number of the packet with that stamp, if it is remembered. Else nil.
    @inline(__always)
    func number(of stamp: UInt32) -> UInt32? {
        // Age 1 is the packet sent last; what was never sent is age 0 or far too old.
        let age = (next &- stamp) & 0x00FF_FFFF
        guard age &- 1 < held, Stamp.isRight(stamp) else { return nil }
        return next &- age
    }

    /// - Precondition: `number` came from `number(of:)`, and no packet was added since.
    @inline(__always)
    func flight(_ number: UInt32) -> UnsafeMutablePointer<Flight> {
        // Sound: as add.
        unsafe ring + Int(number & mask)
    }

    /// A stamp that was given, but whose packet is forgotten.
    func isForgotten(_ stamp: UInt32) -> Bool {
        let age = (next &- stamp) & 0x00FF_FFFF
        return Stamp.isRight(stamp) && age > held && UInt64(age) <= total
    }

    /// The oldest packet that was due before `time` and not yet looked at, once each.
    @inline(__always)
    mutating func settle(dueBefore time: UInt64) -> UnsafeMutablePointer<Flight>? {
        guard unsettled != next else { return nil }
        // Sound: as add.
        let flight = unsafe ring + Int(unsettled & mask)
        guard unsafe flight.pointee.due < time else { return nil }
        unsettled &+= 1
        return unsafe flight
    }
}
