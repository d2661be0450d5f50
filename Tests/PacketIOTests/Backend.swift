import CSluice
import PacketIO
import SluiceTesting
import Testing

/// What the socket backends have in common, so that one test serves all. Swift 6.3 consumes a
/// noncopyable existential by a call that does not mutate: so `release` does, here.
protocol TestedBackend: PacketIO, ~Copyable {
    mutating func release() throws(IOFailure)
}

extension PacketSocketIO: TestedBackend {}
extension UDPSocketIO: TestedBackend {}
extension RawSocketIO: TestedBackend {}

typealias AnyBackend = any TestedBackend & ~Copyable

typealias Backend = IOBackend

extension IOBackend: CustomTestStringConvertible {
    /// Those whose answers the IP stack routes.
    static let routed: [Backend] = [.udp, .raw]

    public var testDescription: String { rawValue }

    func open(_ options: SocketOptions) throws(IOFailure) -> AnyBackend {
        switch self {
        case .packet: try PacketSocketIO(options)
        case .udp: try UDPSocketIO(options)
        case .raw: try RawSocketIO(options)
        }
    }

    /// The backend on a network of its own, with a sender of raw packets and its waker.
    func onFreshNetwork(
        _ change: (inout SocketOptions) -> Void = { _ in },
        _ body: (inout AnyBackend, borrowing RawSender, Waker) throws -> Void
    ) throws {
        try Network.isolated {
            let options = try socketOptions(change)
            var io = try open(options)
            try body(&io, RawSender(), options.waker)
        }
    }
}

/// Addresses of the loopback network: ours, and the gateway's.
let ourAddress: UInt32 = 0x7F00_0001
let gatewayAddress: UInt32 = 0x7F00_0002

/// A packet from the gateway to us.
func gatewayPacket(
    _ inner: [UInt8] = PacketBuilder.udp4(40_000, 3000, [1, 2, 3])
) -> PacketBuilder {
    var builder = PacketBuilder(inner)
    builder.source = gatewayAddress
    builder.destination = ourAddress
    builder.identification = 0x4242
    return builder
}

func socketOptions(
    _ change: (inout SocketOptions) -> Void = { _ in }
) throws -> SocketOptions {
    var options = SocketOptions(waker: try Waker())
    options.address = ourAddress
    options.burst = 8
    change(&options)
    return options
}

/// One received frame, copied out of its slot.
struct Received {
    var bytes: [UInt8]
    var facts: FrameFacts
    var room: Int
}

/// Receives until nothing has come for a moment; `visit` sees each burst, and its size, while its
/// frames are there.
func drain(
    _ io: inout AnyBackend, _ visit: (inout AnyBackend, Int) -> Void = { _, _ in }
) -> [Received] {
    var all: [Received] = []
    var idle = 0
    while idle < 2 {
        let n = io.receive()
        guard n > 0 else {
            idle += 1
            io.wait(milliseconds: 50)
            continue
        }
        idle = 0
        for i in 0..<n {
            let frame = io.frames[i]
            let bytes = UnsafeRawBufferPointer(start: frame.base, count: Int(frame.length))
            all.append(Received(bytes: Array(bytes), facts: frame.facts, room: Int(frame.room)))
        }
        visit(&io, n)
    }
    return all
}

/// What the worker does to an answer: swaps the outer addresses.
func turnAround(_ frame: UnsafeMutablePointer<Frame>) {
    let header = UnsafeMutableRawBufferPointer(start: frame.pointee.base, count: 20)
    for i in 12..<16 { header.swapAt(i, i + 4) }
    frame.pointee.isAnswer = true
}

extension TransmitReport {
    static func of(packets: Int, bytes: Int, refused: Int = 0) -> TransmitReport {
        var report = TransmitReport()
        report.packets = packets
        report.bytes = bytes
        report.refused = refused
        return report
    }
}
