import CSluice
import Support

/// Which worker runs on which CPU.
public struct Placement: Equatable, Sendable {
    /// One CPU per worker.
    public let cpus: [Int]

    /// One worker per allowed CPU, one CPU left for control when there are more than four;
    /// workers beyond CPUs share them round-robin. CPUs that the network card prefers come first,
    /// so fewer workers than CPUs get those, and control gets the last one.
    ///
    /// - Parameters:
    ///   - chosen: the user's CPUs, in the user's order; empty = all that are allowed.
    ///   - configuration: that of the CPUs chosen, to name them as they were given.
    ///   - rank: how far a CPU is from the card; equal ranks keep their order.
    public init(
        workers: Int?, cpus chosen: [Int], allowed: [Int],
        of configuration: Configuration = Configuration(), rank: (Int) -> Int = { _ in 0 }
    ) throws(Failure) {
        if let foreign = chosen.first(where: { !allowed.contains($0) }) {
            throw configuration.failure(
                blaming: "listen.cpus",
                "CPU \(foreign) is not allowed to this process: choose from \(allowed)")
        }
        let pool = chosen.isEmpty ? Placement.pool(allowed, rank) : chosen
        guard !pool.isEmpty else {
            throw Failure(.system, "the process may not run on any CPU: check its cpuset")
        }
        cpus = (0..<(workers ?? pool.count)).map { pool[$0 % pool.count] }
    }

    /// The first CPU of the farthest rank is control's: CPU 0 of a host whose CPUs are all alike,
    /// where most kernels do their own work.
    private static func pool(_ allowed: [Int], _ rank: (Int) -> Int) -> [Int] {
        var pool = allowed.enumerated()
            .map { (rank: rank($0.element), order: $0.offset, cpu: $0.element) }
            .sorted { ($0.rank, $0.order) < ($1.rank, $1.order) }
        if pool.count > 4, let last = pool.last,
            let spare = pool.firstIndex(where: { $0.rank == last.rank })
        {
            pool.remove(at: spare)
        }
        return pool.map(\.cpu)
    }
}
