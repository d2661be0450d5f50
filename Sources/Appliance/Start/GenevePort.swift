import CSluice
import Configuration
import PacketIO
import Support

/// UDP port 6081 of this host, which must have a taker as long as the process lives: else the
/// kernel answers packets with ICMP port unreachable.
enum GenevePort {
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

    /// Leaves a sink where packets may come that no worker's socket takes: with a backend that
    /// takes the port itself, only when it serves one address or interface alone.
    static func keep(
        _ sink: consuming PortSink, for backend: IOBackend, _ options: RunOptions
    ) throws(Failure) -> PortSink? {
        guard backend.traits.takesPort else { return sink }
        sink.close()
        guard options.address != 0 || options.interfaces.count == 1 else { return nil }
        do throws(IOFailure) {
            return try PortSink(address: 0, sharing: true)
        } catch {
            throw Failure(error)
        }
    }
}
