import CSluice
import PacketIO
import Wire

/// Which frames are looked at: IPv4, UDP, one of whose ports is Geneve's, whatever their addresses.
enum ReturnFilter {
    static func program() -> [sock_filter] {
        var a = BPFAssembler()
        let refused = a.label()
        let accepted = a.label()
        a.loadHalf(absolute: 12)
        a.jump(ifNotEqual: UInt32(ETH_P_IP), to: refused)
        a.loadByte(absolute: 23)
        a.jump(ifNotEqual: UInt32(IPProtocol.udp), to: refused)
        loadHeaderLength(&a, at: 14)
        a.loadHalf(indirect: 14 + 2)
        a.jump(ifEqual: UInt32(GeneveHeader.port), to: accepted)
        a.loadHalf(indirect: 14)
        a.jump(ifNotEqual: UInt32(GeneveHeader.port), to: refused)
        a.place(accepted)
        a.returnValue(0x40000)  // more than any frame has
        a.place(refused)
        a.returnValue(0)
        return a.assemble()
    }

    /// The thread that owns a flow, by its outer source port.
    static func steering(threads: Int) -> [sock_filter] {
        var a = BPFAssembler()
        loadHeaderLength(&a, at: 0)
        a.loadHalf(indirect: 0)
        a.modulo(UInt32(threads))
        a.returnA()
        return a.assemble()
    }

    private static func loadHeaderLength(_ a: inout BPFAssembler, at offset: UInt32) {
        a.loadByte(absolute: offset)
        a.and(0x0F)
        a.shiftLeft(2)
        a.copyAToX()
    }
}
