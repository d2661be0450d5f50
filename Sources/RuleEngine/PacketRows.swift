import Dataplane
import Wire

/// Where the rows of one packet begin, or the same blocks of each: their AND, word by word, are the
/// rules it may match.
struct PacketRows: BitwiseCopyable {
    private let words: Table<UInt64>
    private var protocols: Int
    private var tcpFlags: Int
    private var fragments: Int
    private var endpoints: Int
    private var sourcePorts: Int
    private var destinationPorts: Int
    private var eitherPort: (Int, Int)
    private var source: Int
    private var destination: Int
    private var eitherAddress: (Int, Int)

    @inline(__always)
    init(_ policy: borrowing CompiledPolicy, _ packet: borrowing Packet) {
        // Field by field: a copy of the layout would cost more than all lookups.
        let every = policy.everyRule
        let asked = policy.properties
        let isIPv6 = packet.version == 6
        words = policy.words
        protocols = Int(policy.protocols[(isIPv6 ? 256 : 0) &+ Int(packet.protocolNumber)])
        tcpFlags =
            asked.contains(.tcpFlags)
            ? Int(policy.tcpFlags[packet.hasTCPFlags ? Int(packet.tcpFlags) : 256]) : every
        fragments =
            asked.contains(.fragments)
            ? Int(policy.fragmentKinds[packet.fragmentKind.rawValue]) : every
        endpoints =
            asked.contains(.endpoints) ? policy.endpoints.value(packet.endpoint) : every
        if packet.layout.hasPorts {
            sourcePorts =
                asked.contains(.sourcePorts) ? policy.sourcePorts.row(packet.sourcePort) : every
            destinationPorts =
                asked.contains(.destinationPorts)
                ? policy.destinationPorts.row(packet.destinationPort) : every
            eitherPort =
                asked.contains(.ports)
                ? (
                    policy.ports.row(packet.sourcePort),
                    policy.ports.row(packet.destinationPort)
                ) : (every, every)
        } else {
            sourcePorts = policy.portless
            destinationPorts = every
            eitherPort = (every, every)
        }
        source =
            asked.contains(.source) ? policy.source.row(packet.source, isIPv6: isIPv6) : every
        destination =
            asked.contains(.destination)
            ? policy.destination.row(packet.destination, isIPv6: isIPv6) : every
        eitherAddress =
            asked.contains(.address)
            ? (
                policy.address.row(packet.source, isIPv6: isIPv6),
                policy.address.row(packet.destination, isIPv6: isIPv6)
            ) : (every, every)
    }

    @inline(__always)
    func and(_ i: Int) -> UInt64 {
        words[protocols &+ i] & words[tcpFlags &+ i] & words[fragments &+ i]
            & words[endpoints &+ i] & words[sourcePorts &+ i] & words[destinationPorts &+ i]
            & (words[eitherPort.0 &+ i] | words[eitherPort.1 &+ i])
            & words[source &+ i] & words[destination &+ i]
            & (words[eitherAddress.0 &+ i] | words[eitherAddress.1 &+ i])
    }

    /// The bits of rows with a summary of one word.
    @inline(__always)
    var behindSummary: PacketRows { mapped { $0 &+ 1 } }

    /// The blocks of a group; `i` is where rows say where they begin.
    @inline(__always)
    func blocks(_ i: Int) -> PacketRows {
        let words = words
        return mapped { Int(truncatingIfNeeded: words[$0 &+ i]) }
    }

    @inline(__always)
    private func mapped(_ begin: (Int) -> Int) -> PacketRows {
        var rows = self
        rows.protocols = begin(protocols)
        rows.tcpFlags = begin(tcpFlags)
        rows.fragments = begin(fragments)
        rows.endpoints = begin(endpoints)
        rows.sourcePorts = begin(sourcePorts)
        rows.destinationPorts = begin(destinationPorts)
        rows.eitherPort = (begin(eitherPort.0), begin(eitherPort.1))
        rows.source = begin(source)
        rows.destination = begin(destination)
        rows.eitherAddress = (begin(eitherAddress.0), begin(eitherAddress.1))
        return rows
    }
}

extension Packet {
    var hasTCPFlags: Bool {
        protocolNumber == IPProtocol.tcp && !isLaterFragment
            && layout.innerEnd &- layout.transport >= TCPHeader.minimumLength
    }

    /// Everything but a SYN that opens a connection. A first fragment tells it as well.
    var isMidFlowTCP: Bool { hasTCPFlags && !TCPFlag.opens(tcpFlags) }

    var fragmentKind: FragmentKind {
        isLaterFragment ? .later : isFragment ? .first : .whole
    }
}
