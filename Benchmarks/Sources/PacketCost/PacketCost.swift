import SluiceCore
import SluiceTesting

/// Runs the packet loop on memory for callgrind, which counts only inside `measured`:
/// instructions of receive (MemoryIO), parse, flow lookup, policy, turn-around, transmit.
///
///     PacketCost CASE PACKETS
@main
enum PacketCost {
    static let cases: [String: (inner: [UInt8], size: Int)] = [
        "pass-128": (PacketBuilder.udp4(4000, 4001, payload(100)), 128),
        "pass-1500": (PacketBuilder.udp4(4000, 4001, payload(1472)), 1500),
        "tcp-1500": (PacketBuilder.tcp4(443, 50_000, payload(1460)), 1500),
        "search-128": (PacketBuilder.udp4(4000, 3000, payload(100)), 128),
        "search-1500": (PacketBuilder.udp4(4000, 3000, payload(1472)), 1500),
        "drop-128": (PacketBuilder.udp4(4000, 3000, payload(92) + Array(" drop me".utf8)), 128),
        "rewrite-128": (
            PacketBuilder.udp4(4000, 3000, Array("weakly typed".utf8) + payload(88)), 128
        ),
        "rewrite-1500": (
            PacketBuilder.udp4(4000, 3000, Array("weakly typed".utf8) + payload(1460)), 1500
        ),
    ]

    static func payload(_ count: Int) -> [UInt8] { (0..<count).map { UInt8(97 + $0 % 23) } }

    static func main() throws {
        let arguments = CommandLine.arguments
        guard arguments.count == 3, let chosen = cases[arguments[1]],
            let packets = Int(arguments[2])
        else {
            print("usage: PacketCost \(cases.keys.sorted().joined(separator: "|")) PACKETS")
            return
        }
        precondition(chosen.inner.count == chosen.size)
        var worker = try makeWorker()
        for i in 0..<packets {
            var builder = PacketBuilder(chosen.inner)
            builder.sourcePort = UInt16(1024 + i % 64)
            // Socket backends have verified the header; `raw` leaves the checksum to us.
            worker.io.enqueue(builder.bytes(), facts: .headerVerified)
        }
        measured(&worker)
        precondition(worker.counters.read(.packetsReceived) == UInt64(packets))
    }

    static func makeWorker() throws -> Worker<MemoryIO, BlogPolicy> {
        let io = MemoryIO(burst: 64, placement: .exact(growth: 64), recordingSize: 0)
        return try Worker(
            index: 0, io: io, processor: BlogPolicy(worker: 0), settings: PathSettings(),
            flowCapacity: 4096, seed: 1, counters: CounterBlock(rules: 3, node: -1))
    }

    @inline(never)
    static func measured(_ worker: inout Worker<MemoryIO, BlogPolicy>) {
        while worker.runBurst() > 0 {}
    }
}
