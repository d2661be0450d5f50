import Wire

/// What a worker needs to know of the configuration on the packet path: flat and immutable.
public struct PathSettings: Sendable, BitwiseCopyable {
    /// When the outer UDP checksum is verified where the kernel has not.
    public enum ChecksumPolicy: UInt8, Sendable, BitwiseCopyable {
        case never, rewrites, always
    }

    /// Drop packets without all three AWS options.
    public var requireAWSOptions = true
    public var verifyOuterChecksum = ChecksumPolicy.rewrites
    /// Answers leave with a zero outer UDP checksum where the backend would compute one.
    public var zeroOuterChecksum = false
    /// Largest inner packet sent after a rewrite, bytes.
    public var mtu = 8500
    /// Inner packets that cannot be decoded pass instead of being dropped.
    public var forwardsUndecodable = false
    /// Idle times of flows.
    public var tcpIdleNanoseconds: UInt64 = 350_000_000_000
    public var otherIdleNanoseconds: UInt64 = 120_000_000_000
    /// A new flow that finds no room in the flow table is dropped; else it takes the place of the
    /// flow that would be over first.
    public var dropsWhenFull = false
    public var allowedSources = AddressSet()
    /// All packets between two addresses come to one worker: a first fragment, which has the ports,
    /// then belongs to the flow of whole packets.
    public var fragmentsMeetFlows = false
    public var ownAddresses = OwnAddresses()
    /// Answers keep the outer time to live; else they carry one less.
    public var keepsOuterTTL = false

    @inlinable public init() {}

    /// What a flow's idle time is by its phase; a short `tcpIdleNanoseconds` is the longest of TCP.
    @inlinable public var lifetimes: FlowLifetimes {
        var times = FlowLifetimes()
        times.other = otherIdleNanoseconds
        times.open = tcpIdleNanoseconds
        times.opening = min(times.opening, tcpIdleNanoseconds)
        times.halfClosed = min(times.halfClosed, tcpIdleNanoseconds)
        times.closed = min(times.closed, tcpIdleNanoseconds)
        return times
    }
}

/// A short list of IPv4 prefixes in memory that lives as long as the process, or as long as the
/// snapshot that it belongs to. Empty = everyone.
@safe public struct AddressSet: @unchecked Sendable, BitwiseCopyable {
    @usableFromInline struct Prefix: BitwiseCopyable {
        @usableFromInline var network: UInt32
        @usableFromInline var mask: UInt32
    }

    @usableFromInline var prefixes: UnsafePointer<Prefix>?
    @usableFromInline var count = 0

    @inlinable public init() { unsafe prefixes = nil }

    /// - Parameter list: (address in host order, prefix length 0 to 32).
    public init(_ list: [(address: UInt32, length: Int)]) {
        let memory = UnsafeMutablePointer<Prefix>.allocate(capacity: max(1, list.count))
        for (i, item) in list.enumerated() {
            let mask: UInt32 = item.length == 0 ? 0 : ~0 << UInt32(32 - item.length)
            unsafe (memory + i).initialize(to: Prefix(network: item.address & mask, mask: mask))
        }
        unsafe prefixes = UnsafePointer(memory)
        count = list.count
    }

    @inlinable var isEveryone: Bool { unsafe prefixes == nil }

    /// Gives the memory of `init(_:)` back: no copy may be used after this.
    func free() { unsafe prefixes?.deallocate() }

    @inlinable @inline(__always)
    public func contains(_ address: UInt32) -> Bool {
        guard let prefixes = unsafe prefixes else { return true }
        return unsafe isListed(address, prefixes)
    }

    @unsafe @inlinable @inline(never)
    func isListed(_ address: UInt32, _ prefixes: UnsafePointer<Prefix>) -> Bool {
        for i in 0..<count {
            // Sound: `count` prefixes were written at init; they outlive the settings in force.
            let prefix = unsafe prefixes[i]
            if address & prefix.mask == prefix.network { return true }
        }
        return false
    }
}
