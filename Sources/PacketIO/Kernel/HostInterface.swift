import CSluice

/// A network interface of this host, as the kernel describes it now.
public struct HostInterface: Equatable, Sendable {
    public let name: String
    public private(set) var index: UInt32 = 0
    public private(set) var isUp = false
    public private(set) var isLoopback = false
    /// Six bytes; nil when it is not Ethernet.
    public private(set) var hardwareAddress: [UInt8]?
    /// IPv4, host order.
    public private(set) var addresses: [UInt32] = []

    /// All that there are.
    public static func all() throws(IOFailure) -> [HostInterface] {
        var head: UnsafeMutablePointer<ifaddrs>?
        // Sound: the list, with a name in every entry, lives until freeifaddrs, and an address is as
        // long as its family says (getifaddrs(3)).
        guard unsafe getifaddrs(&head) == 0 else { throw IOFailure("list interfaces") }
        defer { unsafe freeifaddrs(head) }
        var all: [HostInterface] = []
        var next = unsafe head
        while let entry = unsafe next?.pointee {
            unsafe next = unsafe entry.ifa_next
            // An address may have a label: the interface's name, a colon and more.
            let name = unsafe String(cString: entry.ifa_name).prefix { $0 != ":" }
            let known = all.firstIndex { $0.name == name }
            if known == nil { all.append(HostInterface(name: String(name))) }
            unsafe all[known ?? all.count - 1].read(entry)
        }
        return all
    }

    private init(name: String) { self.name = name }

    @unsafe private mutating func read(_ entry: ifaddrs) {
        let flags = unsafe Int32(bitPattern: entry.ifa_flags)
        isUp = flags & Int32(IFF_UP) != 0
        isLoopback = flags & Int32(IFF_LOOPBACK) != 0
        guard let address = unsafe UnsafeRawPointer(entry.ifa_addr) else { return }
        let family = unsafe Int32(address.load(as: sockaddr.self).sa_family)
        if family == AF_INET {
            let ip = unsafe address.load(as: sockaddr_in.self)
            addresses.append(UInt32(bigEndian: ip.sin_addr.s_addr))
        } else if family == AF_PACKET {
            let link = unsafe address.load(as: sockaddr_ll.self)
            index = UInt32(bitPattern: link.sll_ifindex)
            guard link.sll_hatype == UInt16(ARPHRD_ETHER), link.sll_halen == 6 else { return }
            let bytes = link.sll_addr
            hardwareAddress = [bytes.0, bytes.1, bytes.2, bytes.3, bytes.4, bytes.5]
        }
    }
}
