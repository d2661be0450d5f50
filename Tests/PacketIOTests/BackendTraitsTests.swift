import Testing

@testable import PacketIO

@Suite("Backend traits")
struct BackendTraitsTests {
    @Test func `messages list the backends that there are`() {
        #expect(IOBackend.choices == "auto, packet, udp or raw")
        #expect(IOBackend.steeringByCPU == "packet or udp")
    }

    @Test func `what runs as a last resort needs nothing that a host may lack`() {
        let traits = IOBackend.fallback.traits
        #expect(!traits.needsInterfaces && !traits.usesDropHook)
        #expect(IOBackend.fastest != .fallback)
    }

    @Test func `a packet ring is taken whole, a socket's buffer while packets wait`() {
        let shape = PacketReceiveRing.Shape(frames: 100, frameSize: 9216)
        #expect(
            IOBackend.packet.traits.memory(100, 9216, 64)
                == BackendMemory(ring: shape.byteCount, socketBuffer: 0))
        for backend in [IOBackend.udp, .raw] {
            let memory = backend.traits.memory(100, 9216, 64)
            #expect(memory == BackendMemory(ring: 64 * 9216, socketBuffer: 100 * 9216))
            #expect(memory.total == 164 * 9216)
        }
    }

    /// A backend that takes the port itself may not find it taken, the others leave it free.
    @Test(arguments: IOBackend.allCases)
    func `a backend takes port 6081 itself if it says so`(_ backend: IOBackend) throws {
        try Network.isolated {
            let io = try backend.open(try socketOptions())
            let sink = Result { () throws(IOFailure) in _ = try PortSink(address: 0) }
            #expect((try? sink.get()) == nil ? backend.traits.takesPort : !backend.traits.takesPort)
            _ = io.burstCapacity
        }
    }
}
