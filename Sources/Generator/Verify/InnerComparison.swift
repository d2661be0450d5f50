import Glibc
import Verification
import Wire

/// A returned packet's inner packet held against that of the one that should have come back, `right`.
extension ReturnedPacket {
    /// Both are the same, byte by byte.
    func innerEquals(_ right: PacketView, _ view: PacketView) -> Bool {
        let start = Encapsulation.overhead
        let length = end - inner
        // Sound: ReturnedPacket has found `end` within the view, and both lengths agree.
        return unsafe length == right.count - start
            && memcmp(view.pointer(inner), right.pointer(start), length) == 0
    }

    /// Both are the same when the checksums of the returned one are made right.
    func innerEqualsButForChecksums(_ right: PacketView, _ view: PacketView) -> Bool {
        let start = Encapsulation.overhead
        guard end - inner == right.count - start, let packet = InnerPacket(right, at: start)
        else { return false }
        let shift = inner - start
        for offset in start..<right.count where view.u8(offset + shift) != right.u8(offset) {
            let isHeaderChecksum =
                packet.version == 4 && (offset == start + 10 || offset == start + 11)
            let field = packet.checksumField
            let isChecksum = field != 0 && (offset == field || offset == field + 1)
            guard isHeaderChecksum || isChecksum else { return false }
        }
        return true
    }
}
