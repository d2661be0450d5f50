import Configuration
import PacketIO
import Support
import Wire

/// The interfaces that are served: those named, else the one that owns the address to serve, else
/// every Ethernet interface with an IPv4 address. Looked up anew whenever something has changed.
struct InterfaceChoice: Sendable {
    private let named: [String]
    /// Host order; 0 = every one.
    private let address: UInt32
    /// Where those were last that packets are expected by: named, or found at the start. One that is
    /// renamed keeps its index, one that is made again keeps its name.
    private var expected: [String: UInt32] = [:]
    /// Names.
    private(set) var names: [String] = []
    private(set) var served: Served
    /// What is expected and not there, in words.
    private(set) var missing: [String] = []

    init(_ options: RunOptions) throws(Failure) {
        named = options.interfaces
        address = options.address
        do throws(IOFailure) {
            served = try Served(interfaces: [0], address: address)
            try look()
        } catch {
            throw Failure(error)
        }
        if named.isEmpty, address == 0 { for name in names { expected[name] = 0 } }
    }

    /// True when something else is served than before, or missing.
    @discardableResult
    mutating func look() throws(IOFailure) -> Bool {
        let before = (served, missing, names)
        let all = try HostInterface.all()
        // Once served, an interface is as long as it is there: the drop hook stays at it.
        let earlier = served.interfaces
        let chosen = named.isEmpty ? choose(all) : []
        var found = all.filter {
            chosen.contains($0) || named.isEmpty && earlier.contains($0.index)
        }
        missing = []
        for name in named.isEmpty ? expected.keys.sorted() : named {
            let known = expected[name]
            if let there = all.first(where: { $0.name == name })
                ?? all.first(where: { $0.index == known })
            {
                expected[name] = there.index
                if !named.isEmpty, !found.contains(there) { found.append(there) }
            } else {
                missing.append("interface \(name)")
            }
        }
        names = found.map(\.name)
        served = try Served(
            interfaces: found.isEmpty ? [0] : found.map(\.index), address: address)
        if address != 0, served.addresses.count == 0 {
            missing.append("address \(IPv4Address.format(address))")
        } else if named.isEmpty, !expected.isEmpty, served.addresses.count == 0 {
            missing.append("an IPv4 address")
        }
        return before != (served, missing, names)
    }

    /// An address of a route of type `local` (AnyIP) has no interface: packets for it come by any.
    private func choose(_ all: [HostInterface]) -> [HostInterface] {
        if address != 0, let owner = all.first(where: { $0.addresses.contains(address) }) {
            return [owner]
        }
        return all.filter {
            $0.hardwareAddress != nil && !$0.isLoopback && !$0.addresses.isEmpty
        }
    }
}
