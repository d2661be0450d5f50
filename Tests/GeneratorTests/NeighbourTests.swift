import Testing

@testable import Generator

/// What stands in for an answer to ARP.
@Suite struct NeighbourTests {
    private static let table = """
        IP address       HW type     Flags       HW address            Mask     Device
        192.168.30.5     0x1         0x6         02:00:00:00:00:05     *        eth1
        192.168.30.5     0x1         0x2         02:00:00:00:00:06     *        eth0
        192.168.30.7     0x1         0x6         02:00:00:00:00:07     *        eth0
        192.168.30.8     0x1         0x0         00:00:00:00:00:00     *        eth0

        """

    private func entry(_ last: UInt32, _ interface: String) -> [UInt8]? {
        AddressResolution.permanentEntry(
            for: 0xC0A8_1E00 + last, on: interface, in: Self.table)
    }

    @Test func onlyAPermanentEntryOfTheInterfaceCounts() {
        #expect(entry(7, "eth0") == [2, 0, 0, 0, 0, 7])
        #expect(entry(5, "eth1") == [2, 0, 0, 0, 0, 5])
        #expect(entry(5, "eth0") == nil)
        #expect(entry(7, "eth1") == nil)
        #expect(entry(8, "eth0") == nil)
        #expect(entry(9, "eth0") == nil)
    }
}
