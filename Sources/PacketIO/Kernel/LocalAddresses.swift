import CSluice

/// A prefix of IPv4 addresses, host order.
public struct AddressPrefix: Equatable, Sendable {
    public let address: UInt32
    public let length: Int

    public init(address: UInt32, length: Int) {
        self.address = address
        self.length = length
    }

    public var mask: UInt32 { length == 0 ? 0 : ~0 << (32 - UInt32(length)) }
    public func contains(_ other: UInt32) -> Bool { other & mask == address }
}

/// The IPv4 addresses that packets for this host may name, as its routing table `local` has them.
public struct LocalAddresses: Equatable, Sendable {
    /// Mostly those of interfaces; host order.
    public let single: [UInt32]
    /// Whole prefixes, by routes of type `local` (AnyIP).
    public let prefixes: [AddressPrefix]
    /// Broadcast addresses within the prefixes: not ours.
    public let exceptions: [UInt32]

    /// The most entries of that table that are read.
    public static let limit = 4096

    public var count: Int { single.count + prefixes.count + exceptions.count }

    public init(single: [UInt32], prefixes: [AddressPrefix] = [], exceptions: [UInt32] = []) {
        (self.single, self.prefixes, self.exceptions) = (single, prefixes, exceptions)
    }

    /// All, or only `chosen` while the host has it. No packet for 127.0.0.0/8 may come from a wire
    /// (RFC 1122 §3.2.1.3): it counts only on the loopback interface, or when chosen.
    public init(chosen: UInt32 = 0, onLoopback: Bool) throws(IOFailure) {
        let all = try LocalAddresses.read().filter {
            chosen == 0 ? onLoopback || $0.prefix.address >> 24 != 127 : $0.prefix.contains(chosen)
        }
        let ours = all.filter { !$0.isBroadcast }.map(\.prefix)
        let broadcast = Set(all.filter(\.isBroadcast).map(\.prefix.address)).sorted()
        guard chosen == 0 else {
            single = ours.isEmpty || broadcast.contains(chosen) ? [] : [chosen]
            (prefixes, exceptions) = ([], [])
            return
        }
        let wide = ours.filter { $0.length < 32 }.sorted { $0.address < $1.address }
        single = ours.filter { $0.length == 32 }.map(\.address).sorted()
        prefixes = wide
        exceptions = broadcast.filter { address in wide.contains { $0.contains(address) } }
    }

    private static func read() throws(IOFailure) -> [(prefix: AddressPrefix, isBroadcast: Bool)] {
        var entries = [sluice_prefix](repeating: sluice_prefix(), count: limit)
        // Sound: the array has the room that is passed with it.
        let count = unsafe sluice_local_prefixes(&entries, Int32(entries.count))
        guard count >= 0 else { throw IOFailure("list addresses", errno: -count) }
        return entries.prefix(Int(count)).map {
            (AddressPrefix(address: $0.address, length: Int($0.length)), $0.kind == RTN_BROADCAST)
        }
    }
}

/// Tells when an interface, an address or a route of this host came or went.
public struct HostWatch: ~Copyable {
    private let socket: FileDescriptor

    public init() throws(IOFailure) {
        let socket = try FileDescriptor.socket(
            AF_NETLINK, Int32(SOCK_RAW.rawValue) | Int32(SOCK_NONBLOCK.rawValue),
            NETLINK_ROUTE, "a netlink socket")
        let groups = UInt32(RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE)
        guard sluice_bind_netlink(socket.raw, groups) == 0 else {
            throw IOFailure("listen to changes of interfaces")
        }
        self.socket = socket
    }

    /// Readable when something has changed.
    public var descriptor: Int32 { socket.raw }

    /// True when something may have changed since the last call. A full queue counts as a change:
    /// the kernel reports it as an error (ENOBUFS).
    public func hasChanged() -> Bool {
        var changed = false
        var byte: UInt8 = 0
        while unsafe recv(socket.raw, &byte, 1, Int32(MSG_TRUNC)) >= 0
            || sluice_errno() == ENOBUFS
        {
            changed = true
        }
        return changed
    }
}
