import Dataplane

/// A set of numbers from 0 to 255.
public struct ByteSet: Hashable, BitwiseCopyable, Sendable, ExpressibleByArrayLiteral {
    private var words: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)

    public init(arrayLiteral members: UInt8...) { self.init(members) }

    public init(_ members: some Sequence<UInt8> = []) {
        for member in members { insert(member) }
    }

    public mutating func insert(_ value: UInt8) {
        let bit: UInt64 = 1 << UInt64(value & 63)
        switch value >> 6 {
        case 0: words.0 |= bit
        case 1: words.1 |= bit
        case 2: words.2 |= bit
        default: words.3 |= bit
        }
    }

    public func contains(_ value: UInt8) -> Bool {
        // No switch: it would jump by a table, and the packet path is free of such jumps.
        let word =
            value < 128
            ? (value < 64 ? words.0 : words.1) : (value < 192 ? words.2 : words.3)
        return word &>> UInt64(value & 63) & 1 != 0
    }

    /// All of them.
    public static var all: ByteSet { ByteSet(0...255) }

    public var isEmpty: Bool { self == ByteSet() }

    public func intersection(_ other: ByteSet) -> ByteSet {
        var result = self
        result.words.0 &= other.words.0
        result.words.1 &= other.words.1
        result.words.2 &= other.words.2
        result.words.3 &= other.words.3
        return result
    }

    public func union(_ other: ByteSet) -> ByteSet {
        inverted.intersection(other.inverted).inverted
    }

    /// Those that are not in it.
    public var inverted: ByteSet {
        var result = ByteSet()
        result.words = (~words.0, ~words.1, ~words.2, ~words.3)
        return result
    }

    public func isSubset(of other: ByteSet) -> Bool { intersection(other) == self }

    public var members: [UInt8] { (0...255).filter { contains($0) } }

    public static func == (a: ByteSet, b: ByteSet) -> Bool { a.words == b.words }

    public func hash(into hasher: inout Hasher) {
        hasher.combine(words.0)
        hasher.combine(words.1)
        hasher.combine(words.2)
        hasher.combine(words.3)
    }
}
