import CSluice
import Glibc
import Support

/// What the operating system says of this process.
public struct ProcessReading: Sendable {
    public var cpuSeconds = 0.0
    public var residentBytes: UInt64 = 0
    public var virtualBytes: UInt64 = 0
    /// Unix time.
    public var startTime = 0.0
    public var openDescriptors = 0
    public var maxDescriptors: UInt64 = 0

    public init() {}

    static func now() -> ProcessReading {
        var reading = ProcessReading()
        var usage = timespec()
        // Sound: this call and getrlimit fill in the one structure that they are given.
        _ = unsafe clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &usage)
        reading.cpuSeconds = Double(usage.tv_sec) + Double(usage.tv_nsec) / 1e9
        let pages = ProcFile.read("/proc/self/statm").split(separator: " ").compactMap {
            UInt64($0)
        }
        let pageSize = UInt64(sysconf(Int32(_SC_PAGESIZE)))
        if pages.count > 1 {
            reading.virtualBytes = pages[0] * pageSize
            reading.residentBytes = pages[1] * pageSize
        }
        reading.startTime = startTime()
        var limit = rlimit()
        _ = unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        reading.maxDescriptors = UInt64(limit.rlim_cur)
        // One of them reads this directory.
        reading.openDescriptors = max(0, Directory.names("/proc/self/fd").count - 1)
        return reading
    }

    /// MemAvailable of /proc/meminfo, bytes; nil when the kernel does not say.
    static func availableMemory() -> Int? {
        ProcFile.read("/proc/meminfo").split(separator: "\n")
            .first { $0.hasPrefix("MemAvailable:") }
            .flatMap { Int($0.split(separator: " ")[1]) }
            .map { $0 << 10 }
    }

    /// Field 22 of /proc/self/stat, in clock ticks since boot; /proc/stat has the time of boot.
    private static func startTime() -> Double {
        let stat = ProcFile.read("/proc/self/stat")
        guard let end = stat.lastIndex(of: ")") else { return 0 }
        let fields = stat[end...].split(separator: " ")
        let boot = ProcFile.read("/proc/stat").split(separator: "\n")
            .first { $0.hasPrefix("btime ") }.flatMap { Double($0.dropFirst(6)) }
        guard fields.count > 20, let ticks = Double(fields[20]), let boot else { return 0 }
        return boot + ticks / Double(sysconf(Int32(_SC_CLK_TCK)))
    }
}
