import Glibc

/// Which flow the next packet belongs to: all alike, or by Zipf's law, where the flow of rank k
/// has weight 1 / k^s. One draw costs one multiplication and at most one look into a table
/// (Walker's alias method).
///
/// The table belongs to the object, and a draw stays below `count`: safe for every draw.
@safe final class Popularity: @unchecked Sendable {
    private struct Slot: BitwiseCopyable {
        /// Below this, of 2^32, the slot's own flow; else the alias.
        var threshold: UInt32
        var alias: UInt32
    }

    private let count: UInt32
    /// Written once, before the threads start; nil when all are alike.
    private let table: UnsafeMutablePointer<Slot>?
    /// Sum of the weights.
    let weight: Double

    /// - Parameters:
    ///   - count: flows to choose from.
    ///   - exponent: Zipf's s; 0 = all alike.
    ///   - first: rank of the first, from 0; the next is `stride` ranks further.
    init(count: Int, exponent: Double, first: Int = 0, stride: Int = 1) {
        precondition(count > 0 && count <= Int(UInt32.max))
        self.count = UInt32(count)
        guard exponent > 0 else {
            // Sound: no table, nothing to free.
            unsafe table = nil
            weight = Double(count)
            return
        }
        var weights = (0..<count).map { pow(Double(first + $0 * stride + 1), -exponent) }
        let sum = weights.reduce(0, +)
        weight = sum
        for i in weights.indices { weights[i] *= Double(count) / sum }
        var slots = (0..<count).map { Slot(threshold: .max, alias: UInt32($0)) }
        // Vose: every slot below its fair part is filled up by one above it.
        var poor = (0..<count).filter { weights[$0] < 1 }
        var rich = (0..<count).filter { weights[$0] >= 1 }
        while let slot = poor.popLast(), let giver = rich.last {
            slots[slot] = Slot(
                threshold: UInt32(weights[slot] * 4_294_967_295), alias: UInt32(giver))
            weights[giver] -= 1 - weights[slot]
            if weights[giver] < 1 {
                rich.removeLast()
                poor.append(giver)
            }
        }
        // Sound: memory for `count` slots takes as many.
        let table = UnsafeMutablePointer<Slot>.allocate(capacity: count)
        unsafe table.initialize(from: slots, count: count)
        unsafe self.table = unsafe table
    }

    // Sound: init allocated it.
    deinit { unsafe table?.deallocate() }

    /// A flow for 64 random bits.
    @inline(__always)
    func pick(_ random: UInt64) -> UInt32 {
        let slot = UInt32(truncatingIfNeeded: ((random >> 32) &* UInt64(count)) >> 32)
        // Sound: slot < count, as the upper half of a product with `count`.
        guard let table = unsafe table else { return slot }
        let entry = unsafe table[Int(slot)]
        return UInt32(truncatingIfNeeded: random) < entry.threshold ? slot : entry.alias
    }
}
