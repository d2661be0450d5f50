/// Which worker runs on which CPU.
public struct Placement: Equatable, Sendable {
    /// One CPU per worker.
    public let cpus: [Int]

    /// One worker per allowed CPU, one CPU left for control when there are more than four;
    /// workers beyond CPUs share them round-robin.
    public init(workers: Int?, cpus chosen: [Int], allowed: [Int]) throws(Failure) {
        if let foreign = chosen.first(where: { !allowed.contains($0) }) {
            throw Failure(
                .usage, "CPU \(foreign) is not allowed to this process: choose from \(allowed)")
        }
        let spare = chosen.isEmpty && allowed.count > 4 ? 1 : 0
        let pool = chosen.isEmpty ? Array(allowed.dropFirst(spare)) : chosen
        guard !pool.isEmpty else {
            throw Failure(.system, "the process may not run on any CPU: check its cpuset")
        }
        cpus = (0..<(workers ?? pool.count)).map { pool[$0 % pool.count] }
    }
}
