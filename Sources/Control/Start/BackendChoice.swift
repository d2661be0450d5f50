import CSluice
import PacketIO
import Support

/// The backend that will run, why, and what of it must be there before the first packet socket.
struct BackendChoice: ~Copyable {
    let backend: IOBackend
    /// For the log, when the choice was ours.
    let reason: String?
    /// Keeps the IP stack away from what `packet` takes.
    private let hook: DropHook?

    /// - Parameters:
    ///   - asked: nil = the fastest that the host permits.
    ///   - interfaces: those that traffic will use; may be none.
    init(_ asked: IOBackend?, interfaces: [String], address: UInt32) throws(Failure) {
        guard asked == nil || asked == .packet else {
            backend = asked!
            reason = nil
            hook = nil
            return
        }
        do throws(Failure) {
            hook = try BackendChoice.preparePacket(interfaces, address)
            backend = .packet
            reason = asked == nil ? "packet, the fastest, which this host permits" : nil
        } catch {
            guard asked == nil else { throw error }
            hook = nil
            backend = .udp
            reason = "udp, since packet is not possible: \(error)"
        }
    }

    consuming func keepUntilExit() {
        if let hook { hook.keepUntilExit() }
    }

    /// Whatever `packet` needs beyond sockets: Ethernet, the right to open packet sockets, the hook.
    private static func preparePacket(
        _ interfaces: [String], _ address: UInt32
    ) throws(Failure) -> DropHook {
        guard !interfaces.isEmpty else {
            throw Failure(
                .usage,
                "packet must know its interface and there are several: name it with --interface "
                    + "(`ip link` lists them)")
        }
        for name in interfaces {
            let type = sluice_interface_type(name)
            guard type == ARPHRD_ETHER || type == ARPHRD_LOOPBACK else {
                throw Failure(
                    .usage, "interface \(name) is not Ethernet: packet cannot use it, udp can")
            }
        }
        do throws(IOFailure) {
            _ = try FileDescriptor.socket(
                AF_PACKET, Int32(SOCK_RAW.rawValue), 0, "a packet socket")
            let addresses = try LocalAddresses.ours(
                chosen: address, onLoopback: interfaces.contains("lo"))
            guard addresses.count <= PacketFilter.addressLimit else {
                throw IOFailure(
                    "serve more than \(PacketFilter.addressLimit) addresses", errno: E2BIG)
            }
            return try DropHook(
                interfaces: interfaces, addresses: addresses, followsChanges: address == 0)
        } catch {
            guard !error.isPermission, error.what.contains("nf_tables") else {
                throw Failure(error)
            }
            throw Failure(
                .system,
                "\(error): packet needs nf_tables with netdev chains in the kernel, udp does not")
        }
    }
}

/// Keeps the packet sockets at the addresses that the host has.
struct AddressFollower: ~Copyable {
    private let watch: AddressWatch
    private let sockets: [Int32]
    private let options: SocketOptions
    private var isPending = false
    private var hasFailed = false

    init(sockets: [Int32], options: SocketOptions) throws(Failure) {
        do throws(IOFailure) {
            watch = try AddressWatch()
        } catch {
            throw Failure(error)
        }
        self.sockets = sockets
        self.options = options
    }

    /// Cheap when nothing has changed. What fails is tried again at the next call; it throws once.
    mutating func follow() throws(IOFailure) {
        if watch.hasChanged() { isPending = true }
        guard isPending else { return }
        do throws(IOFailure) {
            for socket in sockets { try PacketSocketIO.follow(socket, options) }
        } catch {
            guard !hasFailed else { return }
            hasFailed = true
            throw error
        }
        isPending = false
        hasFailed = false
    }
}
