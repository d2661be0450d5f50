import CSluice
import Configuration
import PacketIO
import Support

/// The backend that will run, why, and what of it must be there before its first socket.
struct BackendChoice: ~Copyable {
    let backend: IOBackend
    /// For the log, when the choice was ours.
    let reason: String?
    /// Keeps the IP stack away from what the backend takes; nil where the stack gets nothing.
    private let hook: DropHook?

    /// - Parameters:
    ///   - configuration: without a backend in it, the fastest that the host permits is taken.
    ///   - interfaces: those that are served; may be none.
    init(_ configuration: Configuration, interfaces: [String]) throws(Failure) {
        if let asked = configuration.run.backend {
            hook = try BackendChoice.prepare(asked, interfaces, configuration)
            backend = asked
            reason = nil
            return
        }
        let fastest = IOBackend.fastest
        do throws(Failure) {
            hook = try BackendChoice.prepare(fastest, interfaces, configuration)
            backend = fastest
            reason = "\(fastest.rawValue), the fastest, which this host permits"
        } catch {
            hook = nil
            backend = .fallback
            reason =
                "\(IOBackend.fallback.rawValue), since \(fastest.rawValue) is not possible: \(error)"
        }
    }

    consuming func keepUntilExit(after others: [Int32]) {
        if let hook { hook.keepUntilExit(after: others) }
    }

    /// Checks and makes whatever the backend needs beyond sockets.
    private static func prepare(
        _ backend: IOBackend, _ interfaces: [String], _ configuration: Configuration
    ) throws(Failure) -> DropHook? {
        if backend.traits.needsInterfaces {
            try requireEthernet(interfaces, for: backend, configuration)
        }
        if backend.traits.getsMergedPackets {
            try requireSinglePackets(interfaces, for: backend, configuration)
        }
        guard backend.traits.usesDropHook else { return nil }
        do throws(IOFailure) {
            // The right to open one, before the hook is there.
            _ = try backend.traits.socket.open()
            return try makeHook(interfaces, configuration.run.address)
        } catch {
            guard !error.isPermission, error.what.contains("nf_tables") else {
                throw Failure(error)
            }
            throw Failure(
                .system,
                "\(error): \(backend.rawValue) needs nf_tables with netdev chains in the kernel, "
                    + "\(IOBackend.fallback.rawValue) does not")
        }
    }

    private static func requireEthernet(
        _ interfaces: [String], for backend: IOBackend, _ configuration: Configuration
    ) throws(Failure) {
        guard !interfaces.isEmpty else {
            throw configuration.failure(
                blaming: "listen.io",
                "\(backend.rawValue) needs an Ethernet interface with an IPv4 address and found none: "
                    + "`ip address` lists them, "
                    + "\(configuration.name(of: "listen.interface")) names one without")
        }
        // An interface that nobody named is not to blame for what the backend cannot do.
        let blamed = configuration.run.interfaces.isEmpty ? "listen.io" : "listen.interface"
        for name in interfaces {
            // Sound: the name is a C string for the call, which cuts it to the kernel's length.
            let type = unsafe sluice_interface_type(name)
            guard type == ARPHRD_ETHER || type == ARPHRD_LOOPBACK else {
                throw configuration.failure(
                    blaming: blamed,
                    "interface \(name) is not Ethernet: \(backend.rawValue) cannot use it, "
                        + "\(IOBackend.fallback.rawValue) can")
            }
        }
    }

    private static func requireSinglePackets(
        _ interfaces: [String], for backend: IOBackend, _ configuration: Configuration
    ) throws(Failure) {
        let merging = interfaces.compactMap(MergedPackets.init)
        guard !merging.isEmpty else { return }
        let remedies = merging.map { "`\($0.remedy)`" }.joined(separator: " and ")
        throw configuration.failure(
            blaming: "listen.io",
            "\(backend.rawValue) would lose packets that interface "
                + "\(merging.map(\.interface).joined(separator: ", ")) merges (GRO): "
                + "\(remedies) ends that, or use \(IOBackend.fallback.rawValue)")
    }

    private static func makeHook(
        _ interfaces: [String], _ address: UInt32
    ) throws(IOFailure) -> DropHook {
        let addresses = try LocalAddresses(
            chosen: address, onLoopback: interfaces.contains("lo"))
        guard addresses.count <= PacketFilter.addressLimit else {
            throw IOFailure(
                "serve more than \(PacketFilter.addressLimit) addresses", errno: E2BIG)
        }
        return try DropHook(
            interfaces: interfaces, addresses: addresses.single, followsChanges: address == 0)
    }
}
