import CSluice
import Glibc
import PacketIO
import Support
import Wire

/// The interface of a run and the way to the appliance.
struct Link: Sendable {
    let interface: String
    let index: Int32
    /// Our MAC address and that of the appliance, six bytes each.
    let own: [UInt8]
    let peer: [UInt8]
    /// The peer's stands in the kernel's table for good; nobody answered ARP.
    let isPeerConfigured: Bool
    /// The GWLB nodes, host order.
    let nodes: [UInt32]

    /// Looks at the interface and asks for the appliance's MAC address.
    init(_ plan: TrafficPlan) throws(Failure) {
        let facts = try Link.facts(plan.interface)
        guard facts.isUp else {
            throw Failure(
                .system,
                "interface \(plan.interface) is down: `ip link set \(plan.interface) up`")
        }
        guard let own = facts.hardwareAddress else {
            throw Failure(.usage, "interface \(plan.interface) is not Ethernet: name another one")
        }
        nodes = try Link.nodes(plan, facts)
        try Link.checkSize(plan)
        interface = plan.interface
        index = Int32(bitPattern: facts.index)
        self.own = own
        let answer = try AddressResolution.ask(
            for: plan.target, from: nodes[0], own: own, interface: index, name: plan.interface)
        guard
            let peer = answer
                ?? AddressResolution.permanentEntry(for: plan.target, on: plan.interface)
        else {
            let text = IPv4Address.format(plan.target)
            throw Failure(
                .system,
                "no answer from \(text) to ARP on \(plan.interface): is the appliance up, and on "
                    + "this network? `ip neigh replace \(text) lladdr MAC nud permanent dev "
                    + "\(plan.interface)` does without ARP")
        }
        self.peer = peer
        isPeerConfigured = answer == nil
    }

    private static func facts(_ name: String) throws(Failure) -> HostInterface {
        do throws(IOFailure) {
            if let found = try HostInterface.all().first(where: { $0.name == name }) {
                return found
            }
        } catch {
            throw Failure(error)
        }
        throw Failure(.system, "there is no interface \(name): `ip link` lists them")
    }

    private static func nodes(
        _ plan: TrafficPlan, _ facts: HostInterface
    ) throws(Failure) -> [UInt32] {
        guard !facts.addresses.contains(plan.target) else {
            throw Failure(
                .usage,
                "--target \(IPv4Address.format(plan.target)) is this host's own address: "
                    + "name the appliance's")
        }
        for source in plan.sources where !facts.addresses.contains(source) {
            let text = IPv4Address.format(source)
            throw Failure(
                .usage,
                "--source \(text) is no address of \(plan.interface): "
                    + "`ip address add \(text)/32 dev \(plan.interface)`")
        }
        let nodes = plan.sources.isEmpty ? facts.addresses : plan.sources
        guard !nodes.isEmpty else {
            throw Failure(
                .usage,
                "interface \(plan.interface) has no IPv4 address to send from: "
                    + "`ip address add ADDRESS/PREFIX dev \(plan.interface)`")
        }
        return nodes
    }

    private static func checkSize(_ plan: TrafficPlan) throws(Failure) {
        // Sound: the name is a C string for the call.
        let mtu = unsafe Int(sluice_interface_mtu(plan.interface))
        let needed = plan.largestOuter
        guard mtu >= needed else {
            throw Failure(
                .system,
                "interface \(plan.interface) has MTU \(mtu), inner packets of "
                    + "\(needed - Encapsulation.overhead) bytes need \(needed): "
                    + "`ip link set \(plan.interface) mtu 9001`, or choose a smaller --size")
        }
    }
}

/// ARP (RFC 826), as much as it takes to ask for one address.
enum AddressResolution {
    private static let attempts = 5
    private static let patience: Int32 = 400  // milliseconds

    /// The MAC address of `target`; nil when nobody answers.
    static func ask(
        for target: UInt32, from source: UInt32, own: [UInt8], interface: Int32, name: String
    ) throws(Failure) -> [UInt8]? {
        do throws(IOFailure) {
            let socket = try FileDescriptor.socket(
                AF_PACKET, Int32(SOCK_RAW.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0,
                "a packet socket")
            guard sluice_bind_packet(socket.raw, UInt16(ETH_P_ARP), interface) == 0 else {
                throw IOFailure("bind a packet socket to \(name)")
            }
            let request = request(for: target, from: source, own: own)
            for _ in 0..<attempts {
                // Sound: send() reads the array's own count of bytes.
                guard unsafe send(socket.raw, request, request.count, 0) == request.count else {
                    throw IOFailure("send on \(name)")
                }
                if let answer = awaitAnswer(socket.raw, from: target) { return answer }
            }
        } catch {
            throw Failure(error)
        }
        return nil
    }

    /// What the kernel's table has of `target` for good (`ip neigh … nud permanent`).
    static func permanentEntry(for target: UInt32, on interface: String) -> [UInt8]? {
        permanentEntry(for: target, on: interface, in: ProcFile.read("/proc/net/arp"))
    }

    /// - Parameter table: proc_net_arp(5): address, type, flags, MAC address, mask, interface.
    static func permanentEntry(
        for target: UInt32, on interface: String, in table: String
    ) -> [UInt8]? {
        for line in table.split(separator: "\n") {
            let fields = line.split(separator: " ")
            guard fields.count == 6, IPv4Address.parse(fields[0]) == target,
                fields[5] == interface, fields[2].hasPrefix("0x"),
                let flags = Int32(fields[2].dropFirst(2), radix: 16), flags & ATF_PERM != 0
            else { continue }
            let bytes = fields[3].split(separator: ":").compactMap { UInt8($0, radix: 16) }
            if bytes.count == 6 { return bytes }
        }
        return nil
    }

    static func request(for target: UInt32, from source: UInt32, own: [UInt8]) -> [UInt8] {
        let head = [UInt8](repeating: 0xFF, count: 6) + own + [0x08, 0x06]
        let fixed: [UInt8] = [0, 1, 8, 0, 6, 4, 0, 1]
        return head + fixed + own + big32(source) + [0, 0, 0, 0, 0, 0] + big32(target)
    }

    /// The sender's MAC address of an ARP reply from `target`; nil for any other frame.
    static func answer(_ frame: [UInt8], from target: UInt32) -> [UInt8]? {
        guard frame.count >= 42, frame[12...13] == [0x08, 0x06],
            frame[14...21] == [0, 1, 8, 0, 6, 4, 0, 2], Array(frame[28...31]) == big32(target)
        else { return nil }
        return Array(frame[22..<28])
    }

    private static func awaitAnswer(_ socket: Int32, from target: UInt32) -> [UInt8]? {
        let deadline = sluice_monotonic_ns() + UInt64(patience) * 1_000_000
        while true {
            var frame = [UInt8](repeating: 0, count: 128)
            // Sound: recv() writes at most the array's own count of bytes.
            let count = unsafe recv(socket, &frame, frame.count, 0)
            if count > 0, let answer = answer(Array(frame[0..<count]), from: target) {
                return answer
            }
            let now = sluice_monotonic_ns()
            guard now < deadline else { return nil }
            if count <= 0 { _ = sluice_wait(socket, -1, Int32((deadline - now) / 1_000_000) + 1) }
        }
    }

    private static func big32(_ value: UInt32) -> [UInt8] {
        [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: value >> UInt32($0)) }
    }
}
