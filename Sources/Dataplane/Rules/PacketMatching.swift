import Wire

extension Needle {
    /// - Parameter start: `count` bytes that outlive every use.
    @unsafe
    init(unsafeStart start: UnsafePointer<UInt8>, count: Int) {
        unsafe self.start = unsafe start
        self.count = count
    }

    @inline(__always)
    fileprivate func byte(_ index: Int) -> UInt8 {
        assert(index >= 0 && index < count)
        // Sound: index < count.
        return unsafe start[index]
    }
}

extension Packet {
    /// As `contains`, with ASCII letters of either case taken as equal. - Parameter needle: in
    /// small letters.
    func contains(_ needle: Needle, ignoringCase: Bool) -> Bool {
        let view = self.view
        guard needle.count > 0, payloadLength >= needle.count else { return false }
        let first = needle.byte(0)
        var at = layout.payload
        let last = layout.payloadEnd &- needle.count
        while at <= last {
            if ASCII.lowercase(view.u8(at)) == first {
                var matched = 1
                while matched < needle.count,
                    ASCII.lowercase(view.u8(at &+ matched)) == needle.byte(matched)
                {
                    matched &+= 1
                }
                if matched == needle.count { return true }
            }
            at &+= 1
        }
        return false
    }
}
