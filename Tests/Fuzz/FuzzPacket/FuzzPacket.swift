// libFuzzer on the packet loop: any bytes as one frame, in an allocation of exactly its size,
// under AddressSanitizer. tools/fuzz builds and runs it; every input that found something new is
// kept in Tests/Fuzz/Corpus/packet and replayed by `swift test`.
import SluiceCore
import SluiceTesting

/// A worker on memory; made anew now and then, since MemoryIO keeps every frame.
private struct Subject: ~Copyable {
    var worker: Worker<MemoryIO, BlogPolicy>
    var runs = 0

    init() {
        let io = MemoryIO(burst: 1, placement: .exact(growth: 8), recordingSize: 1 << 20)
        // Memory for one worker is there, or the fuzzer may as well stop.
        worker = try! Worker(
            index: 0, io: io, processor: BlogPolicy(worker: 0), settings: PathSettings(),
            flowCapacity: 64, seed: 1, counters: CounterBlock(rules: 3, node: -1))
    }

    mutating func run(_ bytes: [UInt8]) {
        runs += 1
        worker.io.enqueue(bytes)
        precondition(worker.runBurst() == 1)
        let dropped = DropReason.allCases.reduce(0) { $0 + worker.counters.read($1) }
        let received = worker.counters.read(.packetsReceived)
        precondition(received == worker.counters.read(.packetsForwarded) + dropped)
    }
}

nonisolated(unsafe) private var subject = Subject()

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzOne(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    if subject.runs == 500 { subject = Subject() }
    subject.run(Array(UnsafeBufferPointer(start: start, count: count)))
    return 0
}

private typealias OneInput = @convention(c) (UnsafePointer<UInt8>, Int) -> CInt
private typealias Arguments = UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>

@_silgen_name("LLVMFuzzerRunDriver")
private func runDriver(
    _ count: UnsafeMutablePointer<CInt>, _ arguments: UnsafeMutablePointer<Arguments?>,
    _ body: OneInput
) -> CInt

/// SwiftPM links executables with their own name for main.
@_cdecl("FuzzPacket_main")
public func fuzzMain(_ count: CInt, _ arguments: UnsafeMutableRawPointer?) -> CInt {
    var count = count
    var arguments = arguments?.assumingMemoryBound(to: UnsafeMutablePointer<CChar>?.self)
    return runDriver(&count, &arguments) { fuzzOne($0, $1) }
}
