import CSluice
import Wire

/// Keeps the IP stack away from the packets that the packet sockets have taken: an nf_tables chain
/// at the ingress of each of our interfaces, behind the taps (AF_PACKET sees a frame before the chain
/// does), drops Geneve for our addresses.
///
/// The table is owned by our netlink socket: nobody else can change it, and the kernel removes it
/// when the socket closes, whichever way the process ends. All of it is written as one batch.
///
/// Fragments pass: only the first carries a port, and dropping it alone would leave the others to
/// fill the reassembly queues, which the packet sockets need too. The stack puts them together and
/// hands the datagram to the `PortSink`, as it does with whatever else escapes the chain.
public struct DropHook: ~Copyable {
    /// Every rule names one address; hosts with more have the others looked up.
    private static let addressLimit = 32
    /// Before every chain with a priority that has a name.
    private static let priority: Int32 = -500

    private let socket: FileDescriptor

    /// - Parameters:
    ///   - interfaces: names.
    ///   - addresses: those that are ours now, host order.
    ///   - followsChanges: drop for addresses that come later, too.
    /// - Throws: EPERM without CAP_NET_ADMIN; what the kernel says when it lacks nf_tables.
    public init(
        interfaces: [String], addresses: [UInt32], followsChanges: Bool
    ) throws(IOFailure) {
        let socket = try FileDescriptor.socket(
            AF_NETLINK, Int32(SOCK_RAW.rawValue), NETLINK_NETFILTER, "a netlink socket (nf_tables)")
        guard sluice_bind_netlink(socket.raw, 0) == 0 else {
            throw IOFailure("bind a netlink socket")
        }
        let name = "sluice-\(getpid())"
        let fixed = Array(addresses.prefix(DropHook.addressLimit))
        do throws(IOFailure) {
            try socket.perform(
                DropHook.batch(name, interfaces, fixed, looksUp: followsChanges))
        } catch {
            // A kernel without nft_fib: later addresses are the sink's.
            guard followsChanges, [ENOENT, EOPNOTSUPP].contains(error.errno) else { throw error }
            try socket.perform(DropHook.batch(name, interfaces, fixed, looksUp: false))
        }
        self.socket = socket
    }

    /// The hook goes when the process ends, after these sockets.
    public consuming func keepUntilExit(after others: [Int32]) {
        socket.keepUntilExit(after: others)
    }

    private static func batch(
        _ table: String, _ interfaces: [String], _ addresses: [UInt32], looksUp: Bool
    ) -> NetfilterBatch {
        var batch = NetfilterBatch()
        batch.add("make a table", NFT_MSG_NEWTABLE, flags: NLM_F_CREATE | NLM_F_EXCL) {
            $0.put(NFTA_TABLE_NAME, table)
            $0.put(NFTA_TABLE_FLAGS, NFT_TABLE_F_OWNER)
        }
        for interface in interfaces {
            let chain = Chain(table: table, interface: interface)
            addChain(&batch, chain)
            for address in addresses {
                addRule(&batch, chain) {
                    $0.require(NFT_PAYLOAD_NETWORK_HEADER, at: 16, equals: bigEndian(address))
                }
            }
            if looksUp {
                addRule(&batch, chain) {
                    $0.expression("fib") {
                        $0.put(NFTA_FIB_DREG, NFT_REG_1)
                        $0.put(NFTA_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE)
                        $0.put(NFTA_FIB_FLAGS, NFTA_FIB_F_DADDR)
                    }
                    // RTN_LOCAL, in the host's byte order.
                    $0.requireRegister(equals: bigEndian(UInt32(RTN_LOCAL).bigEndian))
                }
            }
        }
        batch.finish()
        return batch
    }

    /// The chain of one interface, as it is now: from Linux 6.16 on the kernel hooks one that is made
    /// anew under its name, too, whose packets no worker may take yet.
    private struct Chain {
        let table: String
        let interface: String
        var name: String { "ingress-\(interface)" }
        /// Of the interface, in the host's byte order.
        let index: UInt32

        init(table: String, interface: String) {
            self.table = table
            self.interface = interface
            // Sound: the name is a C string for the call.
            index = unsafe if_nametoindex(interface)
        }
    }

    private static func addChain(_ batch: inout NetfilterBatch, _ chain: Chain) {
        batch.add("hook \(chain.interface)", NFT_MSG_NEWCHAIN) {
            $0.put(NFTA_CHAIN_TABLE, chain.table)
            $0.put(NFTA_CHAIN_NAME, chain.name)
            $0.put(NFTA_CHAIN_TYPE, "filter")
            $0.nest(NFTA_CHAIN_HOOK) {
                $0.put(NFTA_HOOK_HOOKNUM, UInt32(NF_NETDEV_INGRESS.rawValue))
                $0.put(NFTA_HOOK_PRIORITY, UInt32(bitPattern: priority))
                $0.nest(NFTA_HOOK_DEVS) { $0.put(NFTA_DEVICE_NAME, chain.interface) }
            }
        }
    }

    /// Drops unfragmented IPv4 UDP packets to port 6081 without a VLAN tag that `isOurs` lets by.
    private static func addRule(
        _ batch: inout NetfilterBatch, _ chain: Chain, _ isOurs: (inout NetfilterBatch) -> Void
    ) {
        batch.add("add a rule", NFT_MSG_NEWRULE, flags: NLM_F_CREATE | NLM_F_APPEND) {
            $0.put(NFTA_RULE_TABLE, chain.table)
            $0.put(NFTA_RULE_CHAIN, chain.name)
            $0.nest(NFTA_RULE_EXPRESSIONS) {
                $0.expression("meta") {
                    $0.put(NFTA_META_DREG, NFT_REG_1)
                    $0.put(NFTA_META_KEY, NFT_META_L4PROTO)
                }
                $0.requireRegister(equals: [IPProtocol.udp])
                $0.require(
                    NFT_PAYLOAD_TRANSPORT_HEADER, at: 2, equals: bigEndian(GeneveHeader.port))
                isOurs(&$0)
                $0.expression("meta") {
                    $0.put(NFTA_META_DREG, NFT_REG_1)
                    $0.put(NFTA_META_KEY, NFT_META_IIF)
                }
                $0.requireRegister(equals: bigEndian(chain.index.bigEndian))
                // No worker takes what the frame does not address to this host alone.
                $0.expression("meta") {
                    $0.put(NFTA_META_DREG, NFT_REG_1)
                    $0.put(NFTA_META_KEY, NFT_META_PKTTYPE)
                }
                $0.requireRegister(equals: [UInt8(PACKET_HOST)])
                // The EtherType of a tagged frame is the tag's.
                $0.require(NFT_PAYLOAD_LL_HEADER, at: 12, equals: bigEndian(UInt16(ETH_P_IP)))
                $0.require(
                    NFT_PAYLOAD_NETWORK_HEADER, at: 6,
                    mask: bigEndian(UInt16(HeaderBits.ipv4Fragment)), equals: [0, 0])
                $0.drop()
            }
        }
    }
}
