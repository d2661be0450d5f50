import CSluice
import Configuration
import PacketIO
import Support

/// UDP port 6081 of this host, which must have a taker as long as the process lives: else the
/// kernel answers packets with ICMP port unreachable. What no worker takes is a sink's to count.
struct GenevePort: ~Copyable {
    /// On every address; the first member of its SO_REUSEPORT group.
    private let sink: PortSink
    /// Descriptors of the sinks that take what no worker takes.
    let unclaimed: [Int32]

    /// Takes the port with a plain bind: nobody else may have it.
    static func take() throws(Failure) -> PortSink {
        do throws(IOFailure) {
            return try PortSink(address: 0)
        } catch {
            guard error.errno == EADDRINUSE else { throw Failure(error) }
            throw Failure(
                .system,
                "UDP port 6081 is taken by another program or a kernel geneve device: "
                    + "`ss -lunp 'sport = :6081'` and `ip -d link show type geneve` name it")
        }
    }

    /// From here on the sink shares the port: where workers have copies of their packets, with
    /// another sink, for those; where their sockets take the port of one address, with a sink that is
    /// the first member of their group.
    init(
        sharing sink: consuming PortSink, for backend: IOBackend, address: UInt32
    ) throws(Failure) {
        let takesPort = backend.traits.takesPort
        do throws(IOFailure) {
            try sink.share()
            var unclaimed = [sink.descriptor]
            if !takesPort || address != 0 {
                let other = try PortSink(address: takesPort ? address : 0, sharing: true)
                if takesPort { unclaimed.append(other.descriptor) }
                other.keepUntilExit()
            }
            if !takesPort {
                try PortSink.divide(sink.descriptor, served: nil, address: address)
            }
            self.unclaimed = unclaimed
        } catch {
            throw Failure(error)
        }
        self.sink = sink
    }

    consuming func keepUntilExit(after others: [Int32]) { sink.keepUntilExit(after: others) }
}
