import SluiceTesting
import Wire

/// Bytes from hex digits, one string per field so that each can carry its own comment.
func hex(_ fields: String...) -> [UInt8] {
    let digits = fields.joined().filter { !$0.isWhitespace }
    precondition(digits.count % 2 == 0, "half a byte in a hex literal")
    var rest = digits[...]
    var bytes: [UInt8] = []
    while !rest.isEmpty {
        bytes.append(UInt8(rest.prefix(2), radix: 16)!)
        rest = rest.dropFirst(2)
    }
    return bytes
}

/// What `body` reads from a view over exactly these bytes.
func read<T>(_ bytes: [UInt8], _ body: (PacketView) -> T) -> T {
    var copy = bytes
    return withPacketView(&copy, body)
}

/// `count` bytes of `filler` after `body` has written into them.
func written(_ count: Int, filler: UInt8 = 0, _ body: (PacketView) -> Void) -> [UInt8] {
    var bytes = [UInt8](repeating: filler, count: count)
    withPacketView(&bytes, body)
    return bytes
}

/// The first few values for which `holds` is false. Exhaustive loops go through here, since one
/// `#expect` for each of 65,536 values would take minutes.
func failures<S: Sequence>(_ values: S, where holds: (S.Element) -> Bool) -> [S.Element] {
    var found: [S.Element] = []
    for value in values where !holds(value) {
        found.append(value)
        if found.count == 8 { break }
    }
    return found
}

/// All values of one octet, and of one 16-bit field.
let octets: ClosedRange<UInt8> = 0...255
let words: ClosedRange<UInt16> = 0...0xFFFF

// ---- What every header must do.

/// True when every cut of `bytes` shorter than `length` parses to nil, and `length` bytes do not.
func needs<T>(_ length: Int, of bytes: [UInt8], _ parse: (PacketView) -> T?) -> Bool {
    (0..<length).allSatisfy { read(Array(bytes.prefix($0)), parse) == nil }
        && read(Array(bytes.prefix(length)), parse) != nil
}

/// A field of a header, for lists of test arguments.
typealias Field<Header, Value> = WritableKeyPath<Header, Value> & Sendable

/// The values of `field` that are misread: put at `offset` of `golden`, a value must change that
/// field of the header and no other.
func misread<Header: Equatable, Value: FixedWidthInteger>(
    _ field: WritableKeyPath<Header, Value>, at offset: Int, of golden: [UInt8],
    _ parse: (PacketView) -> Header?
) -> [Value] {
    guard var expected = read(golden, parse) else { return [0] }
    return read(golden) { view in
        failures(Value.min...Value.max) { value in
            for (i, byte) in bigEndian(value).enumerated() { view.set8(offset + i, byte) }
            expected[keyPath: field] = value
            return parse(view) == expected
        }
    }
}

/// Random headers of `length` bytes that do not come back as they were, or whose writing touches
/// what lies beside them. `ignoring`: bits that reading leaves out and writing leaves zero.
func changedByRoundTrip<Header>(
    length: Int, seed: UInt64, ignoring: [Int: UInt8] = [:],
    read parse: (PacketView) -> Header?, write: (Header, PacketView, _ offset: Int) -> Void
) -> [[UInt8]] {
    var random = SeededGenerator(seed: seed)
    return failures((0..<5000).map { _ in random.bytes(length) }) { bytes in
        guard let header = read(bytes, parse) else { return false }
        var expected = bytes
        for (offset, bits) in ignoring { expected[offset] &= ~bits }
        let margin = [UInt8](repeating: 0xA5, count: 3)
        return written(length + 6, filler: 0xA5) { write(header, $0, 3) }
            == margin + expected + margin
    }
}

/// How evenly things fell into buckets.
struct Spread {
    let counts: [Int]

    init(_ counts: [Int]) { self.counts = counts }

    /// Pearson's chi-square for equal shares: about `counts.count - 1` for a fair hash.
    var chiSquare: Double {
        let share = Double(counts.reduce(0, +)) / Double(counts.count)
        return counts.reduce(0) { $0 + (Double($1) - share) * (Double($1) - share) / share }
    }

    /// Within six standard deviations of what fair dice do.
    var isEven: Bool {
        let freedom = Double(counts.count - 1)
        return chiSquare < freedom + 6 * (2 * freedom).squareRoot() + 6
    }
}

extension SeededGenerator {
    mutating func bytes(_ count: Int) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count + 8)
        while bytes.count < count {
            var word = next()
            for _ in 0..<8 {
                bytes.append(UInt8(truncatingIfNeeded: word))
                word >>= 8
            }
        }
        bytes.removeLast(bytes.count - count)
        return bytes
    }

    mutating func address() -> IPv6Address { IPv6Address(next(), next()) }

    mutating func word() -> UInt16 { UInt16(truncatingIfNeeded: next()) }
}
