import Wire

extension Needle {
    /// - Parameter start: `count` bytes that outlive every use.
    @unsafe
    init(unsafeStart start: UnsafePointer<UInt8>, count: Int) {
        unsafe self.start = unsafe start
        self.count = count
    }
}
