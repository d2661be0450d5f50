import SluiceTesting
import Testing
import Verification
import Wire

@Suite struct InnerPacketTests {
    private func read<R>(_ bytes: [UInt8], _ body: (InnerPacket, PacketView) -> R) -> R? {
        var bytes = bytes
        return withPacketView(&bytes) { view in
            InnerPacket(view, at: 0).map { body($0, view) }
        }
    }

    @Test func rightChecksumsAreRight() {
        for bytes in Shapes.all() {
            #expect(read(bytes) { $0.checksumsAreRight($1) } == true)
        }
    }

    @Test func wrongChecksumsAreWrong() {
        let shapes: [([UInt8], Int)] = [
            (PacketBuilder.udp4(1, 2, [1, 2, 3]), 26), (PacketBuilder.udp6(1, 2, [1, 2, 3]), 46),
            (PacketBuilder.tcp4(1, 2, [1, 2, 3]), 36),
            (PacketBuilder.icmp4(type: 8, sequence: 1), 22),
            (PacketBuilder.icmp6(type: 128, sequence: 1), 42),
        ]
        for (bytes, field) in shapes {
            #expect(read(bytes.flipping(field, 0x55)) { $0.checksumsAreRight($1) } == false)
            #expect(read(bytes.flipping(bytes.count - 1)) { $0.checksumsAreRight($1) } == false)
            if bytes[0] >> 4 == 4 {
                #expect(read(bytes.flipping(10)) { $0.checksumsAreRight($1) } == false)
            }
        }
    }

    @Test func malformedPacketsAreNone() {
        for bytes in Shapes.all() {
            for count in 0..<20 { #expect(read(Array(bytes[0..<count])) { _, _ in 0 } == nil) }
            #expect(read(Array(bytes.dropLast(1))) { _, _ in 0 } == nil || bytes.count == 40)
            for version in [0, 1, 2, 3, 5, 7, 15] as [UInt8] {
                var other = bytes
                other[0] = version << 4 | other[0] & 15
                #expect(read(other) { _, _ in 0 } == nil)
            }
        }
    }

    @Test func bothDirectionsHaveOneKey() {
        let there = PacketBuilder.udp4(40_000, 53, [1])
        let back = PacketBuilder.udp4(
            53, 40_000, [1], source: 0xC0A8_020A, destination: 0xC0A8_010A)
        #expect(
            read(there) { p, _ in p.key(endpoint: 5) } == read(back) { p, _ in p.key(endpoint: 5) })
        #expect(read(there) { p, _ in p.runsLowToHigh } != read(back) { p, _ in p.runsLowToHigh })
        #expect(
            read(there) { p, _ in p.key(endpoint: 5) } != read(there) { p, _ in p.key(endpoint: 6) }
        )
    }

    @Test func localScope() {
        func isLocal(_ source: UInt32, _ destination: UInt32) -> Bool? {
            read(PacketBuilder.udp4(1, 2, [], source: source, destination: destination)) { p, _ in
                p.isLocalScope
            }
        }
        #expect(isLocal(0x0A00_0001, 0x0A00_0002) == false)
        #expect(isLocal(0x0A00_0001, 0xE000_00FB) == true)
        #expect(isLocal(0x0A00_0001, 0xFFFF_FFFF) == true)
        #expect(isLocal(0, 0x0A00_0002) == true)
        #expect(isLocal(0xA9FE_0001, 0x0A00_0002) == true)
        func isLocal6(_ source: [UInt8], _ destination: [UInt8]) -> Bool? {
            read(PacketBuilder.ipv6(source: source, destination: destination, nextHeader: 59, [])) {
                p, _ in p.isLocalScope
            }
        }
        let global = PacketBuilder.address6(1)
        #expect(isLocal6(global, global) == false)
        #expect(isLocal6([0xFE, 0x80] + global[2...], global) == true)
        #expect(isLocal6(global, [0xFF, 0x02] + global[2...]) == true)
        #expect(isLocal6([UInt8](repeating: 0, count: 16), global) == true)
    }

    /// The fingerprint leaves the packet as it was, and tells checksums from all else.
    @Test func fingerprints() {
        for bytes in Shapes.all() {
            var copy = bytes
            let print = withPacketView(&copy) { view in
                Fingerprint(view, InnerPacket(view, at: 0)!)
            }
            #expect(copy == bytes)
            #expect(Fingerprint(bytes) == print)
            #expect(Fingerprint(bytes + [0]).body != print.body)
            for i in bytes.indices {
                guard read(bytes.flipping(i, 1), { _, _ in 0 }) != nil else { continue }
                #expect(Fingerprint(bytes.flipping(i, 1)) != print)
            }
        }
        let udp = PacketBuilder.udp4(1, 2, [1, 2, 3])
        for field in [10, 11, 26, 27] {
            #expect(Fingerprint(udp.flipping(field)).body == Fingerprint(udp).body)
            #expect(Fingerprint(udp.flipping(field)).checksums != Fingerprint(udp).checksums)
        }
    }
}
