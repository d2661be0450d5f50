import CSluice

/// Which of the packets that reach UDP port 6081 of this host the workers claim: by the interface
/// they came in by, and the address they name.
public struct Served: Equatable, Sendable {
    /// Indices; empty = every interface. No interface has index 0.
    public let interfaces: [UInt32]
    public let addresses: LocalAddresses

    /// - Parameter address: the only one that counts, host order; 0 = every one that the host has.
    public init(interfaces: [UInt32], address: UInt32) throws(IOFailure) {
        // Sound: the name is a C string for the call.
        let loopback = unsafe if_nametoindex("lo")
        self.interfaces = interfaces
        addresses = try LocalAddresses(
            chosen: address, onLoopback: interfaces.isEmpty || interfaces.contains(loopback))
    }

    /// For the SO_REUSEPORT group of two sinks, where workers have copies of their packets: member 1
    /// takes what they claim, member 0 all else.
    public func sinkSelector(address: UInt32) -> [sock_filter] {
        var a = BPFAssembler()
        let unclaimed = a.label()
        a.requireServed(interfaces, else: unclaimed)
        if address != 0 {
            a.loadWord(network: 16)
            a.jump(ifNotEqual: address, to: unclaimed)
        }
        a.returnValue(1)
        a.place(unclaimed)
        a.returnValue(0)
        return a.assemble()
    }
}
