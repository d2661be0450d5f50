import CSluice
import Glibc
import PacketIO
import Support
import Wire

/// The interfaces that traffic will use by all appearance: their MTU is the limit, and where their
/// cards are workers are placed. `InterfaceChoice` says which are served.
enum Interfaces {
    /// Those named, else the one that owns `address`, else that of the default route, else the only
    /// one up besides `lo`; may be none.
    static func resolve(named: [String], address: UInt32) throws(Failure) -> [String] {
        // Sound: the names are C strings for the calls, which refuse or cut those too long.
        for name in named where unsafe if_nametoindex(name) == 0 {
            throw Failure(.system, "there is no interface \(name): `ip link` lists them")
        }
        for name in named where unsafe sluice_interface_flags(name) & Int32(IFF_UP) == 0 {
            throw Failure(.system, "interface \(name) is down: `ip link set \(name) up`")
        }
        guard named.isEmpty else {
            return named.enumerated().filter { !named[..<$0.offset].contains($0.element) }
                .map(\.element)
        }
        let all = try list()
        if address != 0 {
            if let owner = all.first(where: { $0.addresses.contains(address) }) {
                return [owner.name]
            }
            try requireLocal(address)
        }
        if let name = ofDefaultRoute() { return [name] }
        let up = all.filter { $0.isUp && !$0.isLoopback && !$0.addresses.isEmpty }
        return up.count == 1 ? [up[0].name] : []
    }

    /// Those of them that are there and up now.
    static func present(named: [String], address: UInt32) -> [String] {
        // Sound: as above.
        let up = named.filter {
            unsafe if_nametoindex($0) != 0 && sluice_interface_flags($0) & Int32(IFF_UP) != 0
        }
        guard up.isEmpty == named.isEmpty else { return [] }
        return (try? resolve(named: up, address: address)) ?? []
    }

    private static func list() throws(Failure) -> [HostInterface] {
        do throws(IOFailure) {
            return try HostInterface.all()
        } catch {
            throw Failure(error)
        }
    }

    /// An address that no interface has may be one of a route of type `local`.
    private static func requireLocal(_ address: UInt32) throws(Failure) {
        let text = IPv4Address.format(address)
        guard (try? LocalAddresses(chosen: address, onLoopback: true))?.count == 1 else {
            throw Failure(.system, "no interface has address \(text): `ip address` lists them")
        }
    }

    /// The largest MTU of these; no IPv4 packet is longer than 65,535 bytes.
    static func largestMTU(_ names: [String]) -> Int {
        min(names.map(mtu).max() ?? 0, 65_535)
    }

    /// Negative when there is no such interface.
    private static func mtu(of name: String) -> Int {
        // Sound: the name is a C string for the call, which cuts it to the kernel's length.
        Int(unsafe sluice_interface_mtu(name))
    }

    /// From /proc/net/route: destination and mask zero.
    private static func ofDefaultRoute() -> String? {
        for line in ProcFile.read("/proc/net/route").split(separator: "\n").dropFirst() {
            let fields = line.split(separator: "\t")
            if fields.count > 7, fields[1] == "00000000", fields[7] == "00000000" {
                return String(fields[0])
            }
        }
        return nil
    }

    /// The largest inner packet for these interfaces: an interface must carry 68 bytes more. A
    /// limit that was asked for and does not fit is an error, the default is lowered.
    static func fit(
        mtu: Int, isSet: Bool, interfaces: [String], warnings: inout [String]
    ) throws(Failure) -> Int {
        var mtu = mtu
        for name in interfaces {
            let limit = Interfaces.mtu(of: name)
            guard limit > 0, limit < mtu + Encapsulation.overhead else { continue }
            let remedy = "`ip link set \(name) mtu 9001` makes room"
            if isSet {
                throw Failure(
                    .config,
                    "mtu \(mtu) needs an interface MTU of \(mtu + Encapsulation.overhead), but "
                        + "\(name) has \(limit): \(remedy), or lower mtu")
            }
            mtu = limit - Encapsulation.overhead
            guard mtu >= 68 else {
                throw Failure(
                    .config, "interface \(name) has MTU \(limit), too small for Geneve: \(remedy)")
            }
            warnings.append("interface \(name) has MTU \(limit): mtu lowered to \(mtu); \(remedy)")
        }
        return mtu
    }
}
