import CSluice
import Wire

/// Which frames of an interface are ours: Geneve for one of our addresses, as a classic BPF
/// program on the packet sockets. What it refuses costs no slot and no copy.
public enum PacketFilter {
    /// The most addresses that the program's size allows for.
    public static let addressLimit = 512

    /// Accepts IPv4 UDP packets to port 6081 that came to us (not ones for other hosts, nor
    /// broadcast, multicast or our own), for one of `addresses`, whole.
    ///
    /// Fragments are refused: the kernel puts them together before (PACKET_FANOUT_FLAG_DEFRAG).
    /// So are frames with a VLAN tag: they belong to the VLAN's own interface. VLAN 0 is no VLAN
    /// but a priority (IEEE 802.1Q §6.9). And so are packets from sources that no host can have
    /// (RFC 1812 §5.3.7), as the kernel does for the other backends.
    ///
    /// - Parameters:
    ///   - addresses: host order; no more than `addressLimit`.
    ///   - interfaces: indices of those that count; empty = all.
    public static func program(addresses: [UInt32], interfaces: [UInt32] = []) -> [sock_filter] {
        precondition(addresses.count <= addressLimit)
        var a = BPFAssembler()
        let refused = a.label()
        let ip = UInt32(ETH_HLEN)
        // The destination port first: it is what tells most other frames from ours.
        a.loadHalf(absolute: 12)
        a.jump(ifNotEqual: UInt32(ETH_P_IP), to: refused)
        a.loadByte(absolute: ip + 9)
        a.jump(ifNotEqual: UInt32(IPProtocol.udp), to: refused)
        a.loadByte(absolute: ip)
        a.and(HeaderBits.ipv4Length)
        a.shiftLeft(2)
        a.copyAToX()
        a.loadHalf(indirect: ip + 2)
        a.jump(ifNotEqual: UInt32(GeneveHeader.port), to: refused)
        a.loadHalf(absolute: ip + 6)
        a.jump(ifAnySet: HeaderBits.ipv4Fragment, to: refused)
        a.load(ancillary: SKF_AD_PKTTYPE)
        a.jump(ifNotEqual: UInt32(PACKET_HOST), to: refused)
        a.load(ancillary: SKF_AD_VLAN_TAG)
        a.jump(ifAnySet: HeaderBits.vlanNumber, to: refused)
        if !interfaces.isEmpty {
            a.load(ancillary: SKF_AD_IFINDEX)
            require(&a, oneOf: interfaces, else: refused)
        }
        // 0.0.0.0/8; from 224.0.0.0 on multicast, reserved and broadcast. Loopback is the worker's
        // to judge.
        a.loadWord(absolute: ip + 12)
        a.jump(ifLess: 0x0100_0000, to: refused)
        a.jump(ifAtLeast: 0xE000_0000, to: refused)
        a.loadWord(absolute: ip + 16)
        require(&a, oneOf: addresses, else: refused)
        a.returnValue(HeaderBits.wholePacket)
        a.place(refused)
        a.returnValue(0)
        return a.assemble()
    }

    private static func require(
        _ a: inout BPFAssembler, oneOf values: [UInt32], else refused: BPFAssembler.Label
    ) {
        let found = a.label()
        for value in values { a.jump(ifEqual: value, to: found) }
        a.jump(to: refused)
        a.place(found)
    }
}

/// The IPv4 addresses of this host's interfaces.
public enum LocalAddresses {
    /// Those that packets for us may name, host order: all, or only `chosen` while the host has it.
    /// No packet for 127.0.0.0/8 may come from a wire (RFC 1122 §3.2.1.3): it counts only on the
    /// loopback interface, or when chosen.
    public static func ours(chosen: UInt32, onLoopback: Bool) throws(IOFailure) -> [UInt32] {
        var head: UnsafeMutablePointer<ifaddrs>?
        guard unsafe getifaddrs(&head) == 0 else { throw IOFailure("list addresses") }
        defer { unsafe freeifaddrs(head) }
        var addresses: Set<UInt32> = []
        var next = unsafe head
        while let entry = unsafe next {
            unsafe next = entry.pointee.ifa_next
            guard let name = unsafe entry.pointee.ifa_addr,
                unsafe Int32(name.pointee.sa_family) == AF_INET
            else { continue }
            // Sound: the family says that this is a sockaddr_in.
            let address = unsafe name.withMemoryRebound(to: sockaddr_in.self, capacity: 1) {
                unsafe UInt32(bigEndian: $0.pointee.sin_addr.s_addr)
            }
            addresses.insert(address)
        }
        return addresses.filter {
            chosen == 0 ? onLoopback || $0 >> 24 != 127 : $0 == chosen
        }.sorted()
    }
}

/// Tells when an address of this host came or went.
public struct AddressWatch: ~Copyable {
    private let socket: FileDescriptor

    public init() throws(IOFailure) {
        let socket = try FileDescriptor.socket(
            AF_NETLINK, Int32(SOCK_RAW.rawValue) | Int32(SOCK_NONBLOCK.rawValue),
            NETLINK_ROUTE, "a netlink socket")
        guard sluice_bind_netlink(socket.raw, UInt32(RTMGRP_IPV4_IFADDR)) == 0 else {
            throw IOFailure("listen to address changes")
        }
        self.socket = socket
    }

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
