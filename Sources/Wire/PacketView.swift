/// A view over the bytes of one packet: multi-byte loads and stores in network byte order.
///
/// Contract: whoever makes a view vouches for `count` bytes at its base for as long as the view
/// lives. Every parser guards a header's length once and then reads its fields; the accessors
/// assert their bounds (live in debug builds, under test and under fuzzing) and cost one
/// instruction in release builds.
@safe public struct PacketView: ~Escapable, BitwiseCopyable {
    @usableFromInline let base: UnsafeMutableRawPointer
    /// Bytes that may be read and written.
    public let count: Int

    /// - Parameter base: the first byte; must be valid for `count` bytes while the view lives.
    @unsafe @_lifetime(immortal) @inlinable @inline(__always)
    public init(unsafeBase base: UnsafeMutableRawPointer, count: Int) {
        unsafe self.base = base
        self.count = count
    }

    /// The first `count` bytes: once a length is guarded, nothing beyond it can be read.
    @inlinable @inline(__always) @_lifetime(copy self)
    public func prefix(_ count: Int) -> PacketView {
        assert(count >= 0 && count <= self.count)
        // Sound: fewer bytes of the same memory.
        return unsafe PacketView(unsafeBase: base, count: count)
    }

    @inlinable @inline(__always)
    public func u8(_ offset: Int) -> UInt8 {
        assert(offset >= 0 && offset &+ 1 <= count)
        // Sound: the caller's guard holds offset + 1 <= count.
        return unsafe base.load(fromByteOffset: offset, as: UInt8.self)
    }

    /// Two bytes at `offset`, network byte order.
    @inlinable @inline(__always)
    public func u16(_ offset: Int) -> UInt16 {
        assert(offset >= 0 && offset &+ 2 <= count)
        // Sound: as u8.
        return unsafe UInt16(bigEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt16.self))
    }

    /// Four bytes at `offset`, network byte order.
    @inlinable @inline(__always)
    public func u32(_ offset: Int) -> UInt32 {
        assert(offset >= 0 && offset &+ 4 <= count)
        // Sound: as u8.
        return unsafe UInt32(bigEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
    }

    /// Eight bytes at `offset`, network byte order.
    @inlinable @inline(__always)
    public func u64(_ offset: Int) -> UInt64 {
        assert(offset >= 0 && offset &+ 8 <= count)
        // Sound: as u8.
        return unsafe UInt64(bigEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
    }

    /// Four bytes at `offset`, the first the lowest: as most machines store them, without a swap.
    @inlinable @inline(__always)
    public func stored32(_ offset: Int) -> UInt32 {
        assert(offset >= 0 && offset &+ 4 <= count)
        // Sound: as u8.
        return unsafe UInt32(
            littleEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
    }

    /// Eight bytes at `offset`, the first the lowest.
    @inlinable @inline(__always)
    func stored64(_ offset: Int) -> UInt64 {
        assert(offset >= 0 && offset &+ 8 <= count)
        // Sound: as u8.
        return unsafe UInt64(
            littleEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
    }

    @inlinable @inline(__always)
    public func set8(_ offset: Int, _ value: UInt8) {
        assert(offset >= 0 && offset &+ 1 <= count)
        // Sound: as u8; the maker of the view vouches for writing too.
        unsafe base.storeBytes(of: value, toByteOffset: offset, as: UInt8.self)
    }

    @inlinable @inline(__always)
    public func set16(_ offset: Int, _ value: UInt16) {
        assert(offset >= 0 && offset &+ 2 <= count)
        // Sound: as set8.
        unsafe base.storeBytes(of: value.bigEndian, toByteOffset: offset, as: UInt16.self)
    }

    @inlinable @inline(__always)
    public func set32(_ offset: Int, _ value: UInt32) {
        assert(offset >= 0 && offset &+ 4 <= count)
        // Sound: as set8.
        unsafe base.storeBytes(of: value.bigEndian, toByteOffset: offset, as: UInt32.self)
    }

    @inlinable @inline(__always)
    public func set64(_ offset: Int, _ value: UInt64) {
        assert(offset >= 0 && offset &+ 8 <= count)
        // Sound: as set8.
        unsafe base.storeBytes(of: value.bigEndian, toByteOffset: offset, as: UInt64.self)
    }

    @inlinable @inline(__always)
    func setStored32(_ offset: Int, _ value: UInt32) {
        assert(offset >= 0 && offset &+ 4 <= count)
        // Sound: as set8.
        unsafe base.storeBytes(of: value.littleEndian, toByteOffset: offset, as: UInt32.self)
    }

    @inlinable @inline(__always)
    func setStored64(_ offset: Int, _ value: UInt64) {
        assert(offset >= 0 && offset &+ 8 <= count)
        // Sound: as set8.
        unsafe base.storeBytes(of: value.littleEndian, toByteOffset: offset, as: UInt64.self)
    }

    /// The address of a byte, for a bulk operation over bytes the caller has guarded.
    @unsafe @inlinable @inline(__always)
    public func pointer(_ offset: Int) -> UnsafeMutableRawPointer {
        assert(offset >= 0 && offset <= count)
        return unsafe base + offset
    }
}

/// Runs `body` with a view over an array's bytes: for tests, tools and cold paths.
public func withPacketView<R, E: Error>(
    _ bytes: inout [UInt8], _ body: (PacketView) throws(E) -> R
) throws(E) -> R {
    let count = bytes.count
    // One spare byte keeps the pointer of an empty array valid.
    bytes.append(0)
    defer { bytes.removeLast() }
    func run(_ buffer: UnsafeMutableRawBufferPointer) -> Result<R, E> {
        // Sound: the view lives only within the closure that lends the memory.
        let view = unsafe PacketView(unsafeBase: buffer.baseAddress!, count: count)
        do throws(E) { return .success(try body(view)) } catch { return .failure(error) }
    }
    return try unsafe bytes.withUnsafeMutableBytes { unsafe run($0) }.get()
}
