import CSluice

/// Messages on their way into one sendmmsg.
@safe struct SendQueue: ~Copyable {
    /// Times per burst that a full queue makes us try again before giving packets up.
    private static var retryLimit: Int { 16 }

    private let messages: FixedTable<sluice_message>
    private let vectors: FixedTable<iovec>
    private(set) var count = 0

    init(capacity: Int) {
        unsafe messages = FixedTable(count: capacity, repeating: sluice_message())
        unsafe vectors = FixedTable(count: capacity, repeating: iovec())
        for i in 0..<capacity {
            unsafe messages.pointer(i).pointee.header.msg_iov = vectors.pointer(i)
            unsafe messages.pointer(i).pointee.header.msg_iovlen = 1
        }
    }

    /// Gives every message in this place a control message, which must hold as long as the queue.
    @unsafe mutating func setControl(of index: Int, _ control: UnsafeMutableRawPointer, length: Int)
    {
        unsafe messages.pointer(index).pointee.header.msg_control = unsafe control
        unsafe messages.pointer(index).pointee.header.msg_controllen = length
    }

    /// Adds a message of `length` bytes; both pointers must hold until `flush`.
    /// - Precondition: fewer than `capacity` were added since the last flush.
    @unsafe mutating func add(
        _ bytes: UnsafeMutableRawPointer, length: Int, name: UnsafeMutableRawPointer? = nil,
        nameLength: socklen_t = 0
    ) {
        assert(unsafe count < messages.count)
        unsafe vectors.pointer(count).pointee.iov_base = unsafe bytes
        unsafe vectors.pointer(count).pointee.iov_len = length
        unsafe messages.pointer(count).pointee.header.msg_name = unsafe name
        unsafe messages.pointer(count).pointee.header.msg_namelen = nameLength
        count &+= 1
    }

    /// Sends what was added. A full queue is tried again a few times; a packet that the kernel
    /// refuses is given up, and those behind it still go.
    mutating func flush(to socket: Int32) -> TransmitReport {
        var report = TransmitReport()
        var at = 0
        while at < count {
            let n = Int(
                unsafe sluice_sendmmsg(
                    socket, messages.pointer(at), UInt32(truncatingIfNeeded: count &- at)))
            if n > 0 {
                for i in at..<(at &+ n) {
                    report.bytes &+= unsafe vectors.pointer(i).pointee.iov_len
                }
                report.packets &+= n
                at &+= n
            } else if SendQueue.isTransient(-n), report.retries < SendQueue.retryLimit {
                report.retries &+= 1
            } else {
                report.refused &+= 1
                at &+= 1
            }
        }
        count = 0
        return report
    }

    private static func isTransient(_ error: Int) -> Bool {
        error == Int(EAGAIN) || error == Int(ENOBUFS) || error == Int(EINTR)
    }
}
