import Wire

/// Reads a payload from its start on, in network byte order. Nothing is read beyond its end:
/// what is not there is nil.
@safe public struct PayloadReader: ~Escapable {
    // Not a PacketView, see Packet.
    @usableFromInline let base: UnsafeRawPointer
    @usableFromInline let count: Int
    /// Bytes read or skipped.
    public private(set) var offset = 0

    @unsafe @_lifetime(immortal) @inlinable @inline(__always)
    init(unsafeBase base: UnsafeRawPointer, count: Int) {
        unsafe self.base = base
        self.count = count
    }

    /// Bytes not yet read.
    public var remaining: Int { count &- offset }

    /// The next byte.
    @_lifetime(self: copy self)
    public mutating func u8() -> UInt8? {
        guard remaining >= 1 else { return nil }
        defer { offset &+= 1 }
        // Sound: one byte remains.
        return unsafe base.load(fromByteOffset: offset, as: UInt8.self)
    }

    @_lifetime(self: copy self)
    public mutating func u16() -> UInt16? {
        guard remaining >= 2 else { return nil }
        defer { offset &+= 2 }
        // Sound: two bytes remain.
        return unsafe UInt16(bigEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt16.self))
    }

    @_lifetime(self: copy self)
    public mutating func u32() -> UInt32? {
        guard remaining >= 4 else { return nil }
        defer { offset &+= 4 }
        // Sound: four bytes remain.
        return unsafe UInt32(bigEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
    }

    /// False when fewer than `bytes` are left; nothing is skipped then.
    @_lifetime(self: copy self) @discardableResult
    public mutating func skip(_ bytes: Int) -> Bool {
        guard bytes >= 0, bytes <= remaining else { return false }
        offset &+= bytes
        return true
    }

    /// The next bytes as text; nil when they are not there, or more than it takes.
    @_lifetime(self: copy self)
    public mutating func text(_ bytes: Int) -> InlineText? {
        guard bytes >= 0, bytes <= remaining, bytes <= InlineText.capacity else { return nil }
        var text = InlineText()
        for _ in 0..<bytes {
            guard let byte = u8() else { return nil }
            text.append(byte)
        }
        return text
    }
}

/// Up to 255 bytes of text within a value: for events.
public struct InlineText: BitwiseCopyable, Sendable, CustomStringConvertible {
    public static let capacity = 255
    private var bytes = InlineArray<255, UInt8>(repeating: 0)
    private var length: UInt8 = 0

    public init() {}

    /// Bytes in it.
    public var count: Int { Int(length) }

    /// Adds a byte; false when it is full.
    @discardableResult
    public mutating func append(_ byte: UInt8) -> Bool {
        guard count < InlineText.capacity else { return false }
        bytes[count] = byte
        length += 1
        return true
    }

    /// What is not UTF-8 is replaced (U+FFFD).
    public var description: String {
        String(decoding: (0..<count).map { bytes[$0] }, as: UTF8.self)
    }
}
