/// SHA-256 (RFC 6234 §6.2) of a file in memory, to tell configurations apart as `sha256sum` does.
public enum SHA256 {
    /// The first 32 bits of the fractional parts of the cube roots of the first 64 primes (§5.1).
    private static let constants: [UInt32] = primes(64).map { fraction(of: $0, root: 3) }
    /// Of the square roots of the first eight (§6.1).
    private static let start: [UInt32] = primes(8).map { fraction(of: $0, root: 2) }

    public static func hexadecimal(of bytes: [UInt8]) -> String {
        // Padding: a one bit, zeros, and the length in bits, to whole blocks (§4.1).
        var padded = bytes + [0x80]
        padded += [UInt8](repeating: 0, count: (120 - padded.count % 64) % 64)
        padded += (0..<8).map { UInt8(truncatingIfNeeded: (bytes.count << 3) >> (56 - 8 * $0)) }
        var hash = start
        var schedule = [UInt32](repeating: 0, count: 64)
        for block in stride(from: 0, to: padded.count, by: 64) {
            add(padded[block..<block + 64], &schedule, to: &hash)
        }
        return hash.map { word in
            let digits = String(word, radix: 16)
            return String(repeating: "0", count: 8 - digits.count) + digits
        }.joined()
    }

    private static func add(
        _ block: ArraySlice<UInt8>, _ w: inout [UInt32], to hash: inout [UInt32]
    ) {
        for t in 0..<16 {
            w[t] = (0..<4).reduce(0) { $0 << 8 | UInt32(block[block.startIndex + 4 * t + $1]) }
        }
        for t in 16..<64 {
            let (x, y) = (w[t - 15], w[t - 2])
            let low = turn(x, 7) ^ turn(x, 18) ^ x >> 3
            let high = turn(y, 17) ^ turn(y, 19) ^ y >> 10
            w[t] = high &+ w[t - 7] &+ low &+ w[t - 16]
        }
        var (a, b, c, d) = (hash[0], hash[1], hash[2], hash[3])
        var (e, f, g, h) = (hash[4], hash[5], hash[6], hash[7])
        for t in 0..<64 {
            let one = turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)
            let two = turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)
            let choice = e & f ^ ~e & g
            let majority = a & b ^ a & c ^ b & c
            let first = h &+ one &+ choice &+ constants[t] &+ w[t]
            (h, g, f, e) = (g, f, e, d &+ first)
            (d, c, b, a) = (c, b, a, first &+ two &+ majority)
        }
        for (i, word) in [a, b, c, d, e, f, g, h].enumerated() { hash[i] &+= word }
    }

    private static func turn(_ word: UInt32, _ bits: UInt32) -> UInt32 {
        word >> bits | word << (32 - bits)
    }

    private static func primes(_ count: Int) -> [UInt64] {
        var primes: [UInt64] = []
        var number: UInt64 = 2
        while primes.count < count {
            if primes.allSatisfy({ number % $0 != 0 }) { primes.append(number) }
            number += 1
        }
        return primes
    }

    /// Of a root of a small number: the largest r with r^root <= number * 2^(32 root), its low half.
    private static func fraction(of number: UInt64, root: Int) -> UInt32 {
        let target = UInt128(number) << UInt128(32 * root)
        var result: UInt128 = 0
        for bit in stride(from: 36, through: 0, by: -1) {
            let more = result | 1 << UInt128(bit)
            if (1..<root).reduce(more, { power, _ in power * more }) <= target { result = more }
        }
        return UInt32(truncatingIfNeeded: result)
    }
}
