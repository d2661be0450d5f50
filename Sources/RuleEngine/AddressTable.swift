import Dataplane
import Wire

/// Which row belongs to an address, of either IP version.
struct AddressTable: BitwiseCopyable {
    let v4: IntervalTable<UInt32>
    let v6: IntervalTable<UInt128>

    /// - Parameter ranges: by bit; nil = the rule asks for none.
    init(
        _ ranges: [CompiledMatch.Addresses?], _ rows: inout RowPool, _ memory: TableMemory
    ) {
        v4 = IntervalTable(rows.intervals(ranges.map { $0?.v4 }, last: 0xFFFF_FFFF), memory)
        v6 = IntervalTable(rows.intervals(ranges.map { $0?.v6 }, last: .max), memory)
    }

    @inline(__always)
    func row(_ address: IPv6Address, isIPv6: Bool) -> Int {
        isIPv6
            ? v6.row(UInt128(address.high) &<< 64 | UInt128(address.low))
            : v4.row(UInt32(truncatingIfNeeded: address.low))
    }
}
