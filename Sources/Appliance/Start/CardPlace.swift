import Configuration
import Support

/// Where the cards of the interfaces are: their NUMA nodes and the CPUs that take their interrupts,
/// as far as the host says. A virtual interface has neither.
public struct CardPlace: Equatable, Sendable {
    public private(set) var nodes: Set<Int> = []
    public private(set) var interruptCPUs: Set<Int> = []

    public init() {}

    /// - Parameters:
    ///   - sys, proc: where those file systems are; tests have their own.
    public init(interfaces: [String], sys: String = "/sys", proc: String = "/proc") {
        for name in interfaces {
            // A virtio interface's device is a child of the PCI device that has the facts.
            let device = "\(sys)/class/net/\(name)/device"
            if !read(device, proc) { _ = read(device + "/..", proc) }
        }
    }

    /// False when this is no device that says anything.
    private mutating func read(_ device: String, _ proc: String) -> Bool {
        let node = Int(CardPlace.line("\(device)/numa_node"))
        if let node, node >= 0 { nodes.insert(node) }
        let interrupts = Directory.names("\(device)/msi_irqs")
        for interrupt in interrupts {
            let list = CardPlace.line("\(proc)/irq/\(interrupt)/smp_affinity_list")
            interruptCPUs.formUnion(CPUList.parse(list) ?? [])
        }
        return node != nil || !interrupts.isEmpty
    }

    private static func line(_ path: String) -> String {
        ProcFile.read(path).split(separator: "\n").first.map(String.init) ?? ""
    }

    /// How far a CPU on `node` is: first its node counts. Then, by flow, the card's interrupts and
    /// a worker on the same CPU would take turns; by CPU, the worker belongs where they arrive.
    public func rank(cpu: Int, node: Int, steersByCPU: Bool) -> Int {
        let isRemote = !nodes.isEmpty && !nodes.contains(node)
        let isApart = interruptCPUs.contains(cpu) != steersByCPU
        return (isRemote ? 2 : 0) + (isApart && !interruptCPUs.isEmpty ? 1 : 0)
    }
}
