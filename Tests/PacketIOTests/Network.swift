import CSluice
import Glibc
import PacketIO
import SluiceTesting
import Testing

/// A network namespace of one test's own: only `lo`, every port free, nobody else's packets.
/// What a test needs it for (raw sockets, port 6081, an MTU) needs root anyway.
enum Network {
    /// Calls that only _GNU_SOURCE declares.
    private static let unshare = function("unshare", as: (@convention(c) (Int32) -> Int32).self)
    private static let setns = function(
        "setns", as: (@convention(c) (Int32, Int32) -> Int32).self)
    private static let newNetwork: Int32 = 0x4000_0000  // CLONE_NEWNET

    static let isAvailable = (try? isolated {}) != nil
    static let requirement: Comment =
        "needs root: raw sockets and a network namespace of its own (tools/test runs as root)"

    /// Runs `body` in a fresh namespace. It applies to this thread, which runs nothing else
    /// before `body`, a synchronous function, returns.
    static func isolated<R>(_ body: () throws -> R) throws -> R {
        let home = FileDescriptor(open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC))
        guard home.raw >= 0, unshare(newNetwork) == 0 else { throw IOFailure("unshare") }
        defer { precondition(setns(home.raw, newNetwork) == 0) }
        try configureLoopback(SIOCSIFFLAGS) {
            $0.ifr_ifru.ifru_flags = Int16(IFF_UP | IFF_RUNNING)
        }
        // Answers that `packet` puts on the loopback device are packets from a wire to the stack.
        for name in ["route_localnet", "accept_local"] { try set("ipv4/conf/all/\(name)", "1") }
        return try body()
    }

    /// Sets a variable below /proc/sys/net of this namespace.
    static func set(_ name: String, _ value: String) throws {
        let file = FileDescriptor(open("/proc/sys/net/" + name, O_WRONLY | O_CLOEXEC))
        guard write(file.raw, value, value.utf8.count) > 0 else { throw IOFailure("set \(name)") }
    }

    /// What a command prints, run in this namespace.
    static func output(_ command: String) throws -> String {
        guard let pipe = popen(command, "r") else { throw IOFailure("run \(command)") }
        defer { pclose(pipe) }
        var text: [UInt8] = []
        while case let byte = fgetc(pipe), byte >= 0 { text.append(UInt8(byte)) }
        return String(decoding: text, as: UTF8.self)
    }

    static func setLoopbackMTU(_ mtu: Int32) throws {
        try configureLoopback(SIOCSIFMTU) { $0.ifr_ifru.ifru_mtu = mtu }
    }

    /// A file of this namespace below /proc/net.
    static func statistics(_ name: String) throws -> String {
        let file = FileDescriptor(open("/proc/thread-self/net/" + name, O_RDONLY | O_CLOEXEC))
        var text = [UInt8](repeating: 0, count: 1 << 16)
        let n = read(file.raw, &text, text.count)
        guard n > 0 else { throw IOFailure("read /proc/net/\(name)") }
        return String(decoding: text[0..<n], as: UTF8.self)
    }

    /// Runs a command in this namespace.
    static func run(_ command: String) throws {
        guard system(command) == 0 else { throw IOFailure("run \(command)", errno: EINVAL) }
    }

    private static func configureLoopback(
        _ request: Int32, _ set: (inout ifreq) -> Void
    ) throws {
        let socket = try FileDescriptor.socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0, "a socket")
        var change = ifreq()
        withUnsafeMutableBytes(of: &change.ifr_ifrn) { $0.copyBytes(from: "lo".utf8) }
        set(&change)
        guard ioctl(socket.raw, UInt(request), &change) == 0 else {
            throw IOFailure("configure lo")
        }
    }

    private static func function<F>(_ name: String, as type: F.Type) -> F {
        unsafeBitCast(dlsym(nil, name)!, to: type)
    }
}

/// Sends whole IPv4 packets as given (the kernel writes total length and header checksum).
struct RawSender: ~Copyable {
    private let socket: FileDescriptor

    init() throws {
        let socket = try FileDescriptor.socket(
            AF_INET, Int32(SOCK_RAW.rawValue), Int32(IPPROTO_RAW), "a raw socket")
        try socket.set(SOL_SOCKET, SO_BROADCAST, 1, "SO_BROADCAST")
        try socket.bind(toDevice: "lo")  // multicast needs no route then
        self.socket = socket
    }

    func send(_ packet: [UInt8]) throws {
        var to = ipv4(packet[16..<20].reduce(0) { $0 << 8 | UInt32($1) })
        let sent = withUnsafePointer(to: &to) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                sendto(
                    socket.raw, packet, packet.count, 0, $0,
                    socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard sent == packet.count else { throw IOFailure("send a packet") }
    }
}

/// Sees the packets of one IP protocol that reach one local address.
struct RawObserver: ~Copyable {
    private let socket: FileDescriptor

    init(_ protocolNumber: Int32, at address: UInt32) throws {
        let socket = try FileDescriptor.socket(
            AF_INET, Int32(SOCK_RAW.rawValue), protocolNumber, "a raw socket")
        try socket.bind(address: address, port: 0, "bind the observer")
        self.socket = socket
    }

    /// What has arrived, until nothing has for a moment.
    func packets() -> [[UInt8]] {
        var packets: [[UInt8]] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while isReadable(socket.raw, milliseconds: 50) {
            let n = recv(socket.raw, &buffer, buffer.count, Int32(MSG_DONTWAIT))
            if n >= 0 { packets.append(Array(buffer[0..<n])) }
        }
        return packets
    }
}

func isReadable(_ descriptor: Int32, milliseconds: Int32) -> Bool {
    var p = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    return poll(&p, 1, milliseconds) > 0
}

/// Makes a datagram socket's peer.
func connectIPv4(_ socket: Int32, _ address: UInt32, _ port: UInt16) throws {
    var to = ipv4(address, port)
    let result = withUnsafePointer(to: &to) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            connect(socket, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
    }
    guard result == 0 else { throw IOFailure("connect") }
}

func localPort(_ socket: Int32) -> UInt16 {
    var name = sockaddr_in()
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    withUnsafeMutablePointer(to: &name) {
        _ = $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(socket, $0, &size) }
    }
    return UInt16(bigEndian: name.sin_port)
}

private func ipv4(_ address: UInt32, _ port: UInt16 = 0) -> sockaddr_in {
    var name = sockaddr_in()
    name.sin_family = sa_family_t(AF_INET)
    name.sin_port = port.bigEndian
    name.sin_addr.s_addr = address.bigEndian
    return name
}

/// Does something a little later, on another thread.
final class DelayedThread {
    private var thread = pthread_t()
    private let body: @Sendable () -> Void
    private let milliseconds: UInt32

    init(milliseconds: UInt32, _ body: @escaping @Sendable () -> Void) {
        self.milliseconds = milliseconds
        self.body = body
        pthread_create(
            &thread, nil,
            {
                let own = Unmanaged<DelayedThread>.fromOpaque($0!).takeRetainedValue()
                usleep(own.milliseconds * 1000)
                own.body()
                return nil
            }, Unmanaged.passRetained(self).toOpaque())
    }

    func join() { pthread_join(thread, nil) }
}
