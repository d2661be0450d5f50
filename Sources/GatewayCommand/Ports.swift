import CSluice
import Gateway
import PacketIO
import Support
import Wire

/// The raw socket that takes in what appliances send back: all UDP that looks like Geneve, also
/// with wrong ports, since those are to be found out.
enum GatewaySocket {
    static func open(_ options: SocketOptions) throws(IOFailure) -> BurstReceiver {
        let socket = try FileDescriptor.socket(
            AF_INET, Int32(SOCK_RAW.rawValue), Int32(IPPROTO_UDP), "a raw socket")
        try socket.attach(filter, "the Geneve filter")
        try socket.prepareForBursts(options)
        return try BurstReceiver(socket: socket, options)
    }

    /// Port 6081 on either end, or an AWS option where the first one stands.
    private static let filter: [sock_filter] = {
        var a = BPFAssembler()
        let accept = a.label()
        a.loadByte(absolute: 0)
        a.and(0x0F)
        a.shiftLeft(2)
        a.copyAToX()
        a.loadHalf(indirect: 0)
        a.jump(ifEqual: UInt32(GeneveHeader.port), to: accept)
        a.loadHalf(indirect: 2)
        a.jump(ifEqual: UInt32(GeneveHeader.port), to: accept)
        // A packet too short for it ends the program with 0: not accepted.
        a.loadHalf(indirect: 16)
        a.jump(ifEqual: UInt32(AWSOptions.optionClass), to: accept)
        a.returnValue(0)
        a.place(accept)
        a.returnValue(0x40000)
        return a.assemble()
    }()

    /// - Throws: when the address is not one of ours.
    static func checkIsLocal(_ address: UInt32) throws(Failure) {
        let text = IPv4Address.format(address)
        do {
            let probe = try FileDescriptor.socket(
                AF_INET, Int32(SOCK_DGRAM.rawValue), 0, "a UDP socket")
            try probe.bind(address: address, port: 0, "listen on \(text)")
        } catch {
            throw Failure(
                error, advice: "give it to an interface: ip address add \(text)/24 dev IF")
        }
    }
}

/// The TUN device of one side of a pair: one IP packet a read, one a write.
struct TunPort: ~Copyable {
    let device: FileDescriptor
    let name: String
    let pair: Int
    let side: GatewayEmulator.Side

    init(_ name: String, pair: Int, side: GatewayEmulator.Side) throws(Failure) {
        // Opening a name that does not exist would make the device, and lose it on exit.
        guard if_nametoindex(name) != 0 else {
            throw Failure(
                .system,
                "no TUN device \(name): make it with ip tuntap add dev \(name) mode tun")
        }
        let descriptor = sluice_open_tun(name)
        guard descriptor >= 0 else {
            throw Failure(
                IOFailure("open TUN device \(name)", errno: -descriptor),
                advice: "it must be a TUN device (mode tun) that no other program has open")
        }
        device = FileDescriptor(descriptor)
        self.name = name
        self.pair = pair
        self.side = side
    }

    /// The next packet's length, at most `capacity`; 0 when none waits or the device is down.
    func read(into memory: UnsafeMutableRawPointer, capacity: Int) -> Int {
        max(0, CSluice.read(device.raw, memory, capacity))
    }

    func write(_ memory: UnsafeRawPointer, count: Int) -> Bool {
        CSluice.write(device.raw, memory, count) == count
    }
}
