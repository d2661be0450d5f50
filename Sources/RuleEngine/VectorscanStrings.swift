import Dataplane

#if Vectorscan
    import CVectorscan

    /// The same strings found by the library Vectorscan: compiled in by the package trait of that
    /// name, and used where it has been measured to be faster than the automaton.
    @safe struct VectorscanStrings: @unchecked Sendable, BitwiseCopyable {
        private let strings: OpaquePointer

        /// Fewer strings are left to the built-in search.
        static var fewest: Int { 5 }

        /// Nil when the library refuses, as on a CPU that it cannot use.
        ///
        /// - Parameter memory: frees it.
        init?(
            _ list: [(bytes: [UInt8], ignoresCase: Bool)], workers: Int, _ memory: TableMemory
        ) {
            // One block of bytes that stands still while pointers into it are used.
            let bytes = list.flatMap(\.bytes)
            let lengths = list.map(\.bytes.count)
            let folded = list.map { $0.ignoresCase ? UInt8(1) : 0 }
            let made = unsafe bytes.withUnsafeBufferPointer { buffer -> OpaquePointer? in
                var start = 0
                let pointers = unsafe lengths.map { length -> UnsafePointer<UInt8>? in
                    defer { start += length }
                    return unsafe buffer.baseAddress! + start
                }
                return unsafe sluice_strings_new(
                    pointers, lengths, folded, UInt32(list.count), Int32(workers))
            }
            guard let made = unsafe made else { return nil }
            unsafe strings = made
            let size = unsafe sluice_strings_size(made)
            memory.own(byteCount: size) { unsafe sluice_strings_free(made) }
        }

        /// Calls `note` with the number of every string that stands in the bytes, each once.
        ///
        /// - Parameter start: `count` bytes.
        @unsafe @inline(__always)
        func scan(
            _ start: UnsafePointer<UInt8>, count: Int, worker: Int, _ note: (Int) -> Void
        ) {
            let found = unsafe sluice_strings_scan(strings, Int32(worker), start, count)
            // Sound: there are `found` numbers, kept until the next scan of this worker.
            let numbers = unsafe sluice_strings_found(strings, Int32(worker))!
            for i in 0..<Int(found) { note(Int(unsafe numbers[i])) }
        }
    }
#endif
