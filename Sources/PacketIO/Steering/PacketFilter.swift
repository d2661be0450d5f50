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
    ///   - local: no more than `addressLimit`.
    ///   - interfaces: as `Served` has them.
    public static func program(
        _ local: LocalAddresses, interfaces: [UInt32] = []
    ) -> [sock_filter] {
        precondition(local.count <= addressLimit)
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
        a.requireServed(interfaces, else: refused)
        a.load(ancillary: SKF_AD_VLAN_TAG)
        a.jump(ifAnySet: HeaderBits.vlanNumber, to: refused)
        // 0.0.0.0/8; from 224.0.0.0 on multicast, reserved and broadcast. Loopback is the worker's
        // to judge.
        a.loadWord(absolute: ip + 12)
        a.jump(ifLess: 0x0100_0000, to: refused)
        a.jump(ifAtLeast: 0xE000_0000, to: refused)
        let found = a.label()
        a.loadWord(absolute: ip + 16)
        for address in local.single { a.jump(ifEqual: address, to: found) }
        for address in local.exceptions { a.jump(ifEqual: address, to: refused) }
        for prefix in local.prefixes {
            a.loadWord(absolute: ip + 16)
            a.and(prefix.mask)
            a.jump(ifEqual: prefix.address, to: found)
        }
        a.jump(to: refused)
        a.place(found)
        a.returnValue(HeaderBits.wholePacket)
        a.place(refused)
        a.returnValue(0)
        return a.assemble()
    }
}

extension BPFAssembler {
    /// Goes on with packets whose frame was for this host alone, and that came in by one of the
    /// interfaces, as `Served` has them.
    mutating func requireServed(_ interfaces: [UInt32], else refused: Label) {
        load(ancillary: SKF_AD_PKTTYPE)
        jump(ifNotEqual: UInt32(PACKET_HOST), to: refused)
        guard !interfaces.isEmpty else { return }
        let found = label()
        load(ancillary: SKF_AD_IFINDEX)
        for index in interfaces { jump(ifEqual: index, to: found) }
        jump(to: refused)
        place(found)
    }
}
