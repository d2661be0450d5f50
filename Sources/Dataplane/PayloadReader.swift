import Wire

/// Reads a payload from its start on, in network byte order. Nothing is read beyond its end:
/// what is not there is nil.
@safe public struct PayloadReader: ~Escapable {
    // Not a PacketView, see Packet.
    @usableFromInline let base: UnsafeRawPointer
    @usableFromInline let count: Int
    @usableFromInline var place: Int
    /// Where in the payload the next byte stands.
    public var offset: Int { place }

    /// - Parameter offset: beyond either end of the payload it is that end.
    @unsafe @_lifetime(immortal) @inlinable @inline(__always)
    init(unsafeBase base: UnsafeRawPointer, count: Int, offset: Int) {
        unsafe self.base = base
        self.count = count
        place = min(max(0, offset), count)
    }

    /// Bytes not yet read.
    public var remaining: Int { count &- offset }

    /// The next byte.
    @_lifetime(self: copy self)
    public mutating func u8() -> UInt8? {
        guard remaining >= 1 else { return nil }
        defer { place &+= 1 }
        // Sound: one byte remains.
        return unsafe base.load(fromByteOffset: offset, as: UInt8.self)
    }

    @_lifetime(self: copy self)
    public mutating func u16() -> UInt16? {
        guard remaining >= 2 else { return nil }
        defer { place &+= 2 }
        // Sound: two bytes remain.
        return unsafe UInt16(bigEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt16.self))
    }

    @_lifetime(self: copy self)
    public mutating func u32() -> UInt32? {
        guard remaining >= 4 else { return nil }
        defer { place &+= 4 }
        // Sound: four bytes remain.
        return unsafe UInt32(bigEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
    }

    @_lifetime(self: copy self)
    public mutating func u64() -> UInt64? {
        guard remaining >= 8 else { return nil }
        defer { place &+= 8 }
        // Sound: eight bytes remain.
        return unsafe UInt64(bigEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
    }

    /// False when fewer than `bytes` are left; nothing is skipped then.
    @_lifetime(self: copy self) @discardableResult
    public mutating func skip(_ bytes: Int) -> Bool {
        guard bytes >= 0, bytes <= remaining else { return false }
        place &+= bytes
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

/// Up to 255 bytes of text within a value: for events, and to compare with on the packet path,
/// where a `String` would allocate.
public struct InlineText: BitwiseCopyable, Sendable, CustomStringConvertible {
    public static let capacity = 255
    private var bytes = InlineArray<255, UInt8>(repeating: 0)
    private var length: UInt8 = 0

    public init() {}

    /// Nil when the text has more bytes than it takes.
    public init?(_ text: String) {
        for byte in text.utf8 where !append(byte) { return nil }
    }

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

    /// It is `name`, or ends with a dot and `name`: a host in that domain (RFC 4343: in either
    /// case of ASCII letters).
    public func isWithin(domain name: InlineText) -> Bool {
        let start = count - name.count
        guard start == 0 || start > 0 && bytes[start - 1] == UInt8(ascii: ".") else { return false }
        for i in 0..<name.count
        where InlineText.lowercased(bytes[start + i]) != InlineText.lowercased(name.bytes[i]) {
            return false
        }
        return true
    }

    private static func lowercased(_ byte: UInt8) -> UInt8 {
        byte &- UInt8(ascii: "A") < 26 ? byte | 0x20 : byte
    }

    /// What is not UTF-8 is replaced (U+FFFD).
    public var description: String {
        String(decoding: (0..<count).map { bytes[$0] }, as: UTF8.self)
    }
}
