import CSluice
import PacketIO
import SluiceTesting
import Synchronization
import Testing
import Wire

/// The filter of the packet sockets, run by the kernel over any bytes.
@Suite("The packet filter")
struct PacketFilterTests {
    private static let ethernet: [UInt8] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0]
    private static let ours: UInt32 = 0x0A4D_0002

    /// What the filter is to say, written down a second time.
    private func isOurs(_ packet: [UInt8]) -> Bool {
        guard packet.count >= 20, packet[9] == 17 else { return false }
        let udp = Int(packet[0] & 15) * 4
        guard packet.count >= udp + 4, packet[udp + 2] == 0x17, packet[udp + 3] == 0xC1 else {
            return false
        }
        return packet[6] & 0x3F == 0 && packet[7] == 0 && (1..<224).contains(packet[12])
            && Array(packet[16..<20]) == bigEndian(Self.ours)
    }

    @Test func `it takes Geneve for our addresses, whole, and no other bytes`() throws {
        let filter = try KernelFilter(
            PacketFilter.program(LocalAddresses(single: [0x7F00_0001, Self.ours, 0x0A4D_0009])))
        var taken = 0
        for packet in HostileBytes.all(seed: 11) {
            let frame = Self.ethernet + packet
            let expected = isOurs(packet)
            try #require(try filter.run(frame) == (expected ? frame.count : nil), "\(packet)")
            if expected { taken += 1 }
        }
        #expect(taken > 1000)
    }

    @Test func `nothing is for a host without addresses`() throws {
        let filter = try KernelFilter(PacketFilter.program(LocalAddresses(single: [])))
        #expect(try !filter.accepts(Self.ethernet + HostileBytes.valid[0]))
    }

    @Test func `the most addresses that it may have fit`() throws {
        let addresses = (0..<UInt32(PacketFilter.addressLimit)).map { Self.ours &+ $0 }
        let filter = try KernelFilter(
            PacketFilter.program(LocalAddresses(single: addresses.reversed())))
        #expect(try filter.accepts(Self.ethernet + HostileBytes.valid[0]))
    }

    /// A route of type `local` for a prefix; its broadcast address has an entry of its own.
    @Test func `whole prefixes are ours, but for exceptions`() throws {
        let addresses = LocalAddresses(
            single: [0x0A4D_0009], prefixes: [AddressPrefix(address: 0x0A4D_0000, length: 30)],
            exceptions: [0x0A4D_0003])
        let filter = try KernelFilter(PacketFilter.program(addresses))
        var packet = HostileBytes.valid[0]
        for (last, isOurs) in [(0, true), (2, true), (3, false), (4, false), (9, true)] {
            packet.replaceSubrange(16..<20, with: [0x0A, 0x4D, 0, UInt8(last)])
            #expect(try filter.accepts(Self.ethernet + packet) == isOurs, "\(last)")
        }
    }

    /// RFC 1812 §5.3.7; the borders of what is a source.
    @Test(arguments: [
        ([0, 0, 0, 0], false), ([0, 255, 255, 255], false), ([1, 0, 0, 0], true),
        ([127, 0, 0, 1], true), ([223, 255, 255, 255], true), ([224, 0, 0, 0], false),
        ([240, 0, 0, 1], false), ([255, 255, 255, 255], false),
    ])
    func `no packet is from everyone or nobody`(source: [UInt8], isTaken: Bool) throws {
        let filter = try KernelFilter(PacketFilter.program(LocalAddresses(single: [Self.ours])))
        var packet = HostileBytes.valid[0]
        packet.replaceSubrange(12..<16, with: source)
        #expect(try filter.accepts(Self.ethernet + packet) == isTaken)
    }

    @Test func `frames of other protocols are not ours`() throws {
        let filter = try KernelFilter(PacketFilter.program(LocalAddresses(single: [Self.ours])))
        for type in [0x86DD, 0x0806, 0x8100, 0x0801] as [UInt16] {
            #expect(
                try !filter.accepts(
                    Self.ethernet.dropLast(2) + bigEndian(type) + HostileBytes.valid[0]))
        }
    }
}

@Suite("Parts of the packet backend")
struct PacketPartsTests {
    @Test(arguments: [(4096, 9216), (1, 9216), (7, 256), (4096, 2048), (100, 65_615), (3, 9217)])
    func `a ring has the slots that were asked for, and wastes little`(frames: Int, size: Int) {
        let shape = PacketReceiveRing.Shape(frames: frames, frameSize: size)
        #expect(shape.frameSize >= size && shape.frameSize < size + 64)
        #expect(shape.frameSize % 16 == 0, "TPACKET_ALIGNMENT")
        #expect(shape.blockSize.nonzeroBitCount == 1 && shape.blockSize % 4096 == 0)
        #expect(shape.slotsPerBlock >= 8)
        #expect(shape.blocks * shape.slotsPerBlock >= frames)
        #expect((shape.blocks - 1) * shape.slotsPerBlock < frames)
        #expect(shape.blockSize - shape.slotsPerBlock * shape.frameSize < shape.blockSize / 8)
    }

    /// A selector returns the worker's index, which as a socket filter is the length kept.
    @Test func `steering by CPU names the worker there, and any other CPU one that exists`() throws
    {
        let cpu = try #require(allowedCPUs().first)
        let bytes = [UInt8](repeating: 0, count: 64)
        func worker(_ cpus: [Int]) throws -> Int {
            // On another thread: this one may run on any CPU.
            let result = Mutex<Int>(-1)
            let program = Steering.selector(
                from: .outerIPv4, workers: cpus.count, mode: .cpu(cpus))
            let thread = DelayedThread(milliseconds: 0) {
                guard sluice_pin(Int32(cpu)) == 0, let selector = try? KernelFilter(program) else {
                    return
                }
                let kept = (try? selector.run(bytes)).flatMap { $0 } ?? 0
                result.withLock { $0 = kept }
            }
            thread.join()
            return result.withLock { $0 }
        }
        #expect(try worker([cpu + 1, cpu + 2, cpu]) == 2)
        #expect(try worker([cpu + 1, cpu, cpu + 2]) == 1)
        #expect(try worker([cpu + 1, cpu + 2, cpu + 3]) == cpu % 3)
    }

    private func allowedCPUs() -> [Int] {
        var cpus = [Int32](repeating: 0, count: 1024)
        return cpus.prefix(Int(sluice_allowed_cpus(&cpus, 1024))).map(Int.init)
    }
}
