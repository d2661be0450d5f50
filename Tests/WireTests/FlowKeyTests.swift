import SluiceTesting
import Testing
import Wire

/// The flow key: (endpoint id, canonical inner 5-tuple), a 3-tuple without ports.
@Suite struct FlowKeyTests {
    /// What goes into a key, so that tests can vary one thing.
    private struct Ends {
        var endpoint: UInt64 = 0x2356_de92_d389_839c
        var version: UInt8 = 4
        var protocolNumber = IPProtocol.udp
        var source = IPv6Address(0, 0xC0A8_010A)
        var destination = IPv6Address(0, 0xC0A8_020A)
        var sourcePort: UInt16 = 5000
        var destinationPort: UInt16 = 3000
        var isFragment = false

        var key: FlowKey {
            FlowKey(
                endpoint: endpoint, version: version, protocolNumber: protocolNumber,
                source: source, destination: destination, sourcePort: sourcePort,
                destinationPort: destinationPort, isFragment: isFragment)
        }

        /// The same packet on its way back.
        var reversed: Ends {
            var back = self
            back.source = destination
            back.destination = source
            back.sourcePort = destinationPort
            back.destinationPort = sourcePort
            return back
        }

        static func random(_ random: inout SeededGenerator) -> Ends {
            var ends = Ends()
            ends.endpoint = random.next()
            ends.protocolNumber = UInt8(random.next() % 256)
            ends.source = random.address()
            ends.destination = random.address()
            ends.sourcePort = random.word()
            ends.destinationPort = random.word()
            return ends
        }
    }

    private static let seed: UInt64 = 0x5EED

    @Test func theLowerEndStandsFirst() {
        let key = Ends().key
        #expect(key.lowAddress == IPv6Address(0, 0xC0A8_010A))
        #expect(key.lowPort == 5000)
        #expect(key.highAddress == IPv6Address(0, 0xC0A8_020A))
        #expect(key.highPort == 3000)
        #expect(key.endpoint == 0x2356_de92_d389_839c)
        #expect(key.version == 4)
        #expect(key.protocolNumber == IPProtocol.udp)
        #expect(key.fragment == 0)
    }

    @Test func bothDirectionsShareOneKey() {
        var random = SeededGenerator(seed: 1)
        let bad = failures((0..<5000).map { _ in Ends.random(&random) }) { ends in
            ends.key == ends.reversed.key
                && ends.key.hash(seed: Self.seed) == ends.reversed.key.hash(seed: Self.seed)
        }
        #expect(bad.isEmpty)
    }

    @Test func anAddressThatTalksToItselfIsOrderedByPort() {
        var ends = Ends()
        ends.destination = ends.source
        #expect(ends.key == ends.reversed.key)
        #expect(ends.key.lowPort == 3000)
        ends.sourcePort = 3000
        #expect(ends.key == ends.reversed.key)
    }

    @Test func portsBelongToTheirAddresses() {
        var swapped = Ends()
        swapped.sourcePort = 3000
        swapped.destinationPort = 5000
        #expect(Ends().key != swapped.key)
    }

    /// Address ranges behind different endpoints may overlap.
    @Test(
        "Networks behind two endpoints may use the same addresses: the endpoint is part of the key")
    func endpoint() {
        var random = SeededGenerator(seed: 2)
        for bit in 0..<64 {
            var other = Ends()
            other.endpoint ^= 1 << UInt64(bit)
            #expect(other.key != Ends().key)
            #expect(other.key.hash(seed: random.next()) != Ends().key.hash(seed: Self.seed))
        }
    }

    @Test func fragmentsOfOnePacketShareOneKeyThatNoWholePacketHas() {
        var whole = Ends()
        whole.sourcePort = 0
        whole.destinationPort = 0
        var fragment = whole
        fragment.isFragment = true
        #expect(fragment.key == fragment.reversed.key)
        #expect(fragment.key != whole.key)
        #expect(fragment.key.hash(seed: Self.seed) != whole.key.hash(seed: Self.seed))
    }

    @Test func versionsDoNotMeet() {
        var other = Ends()
        other.version = 6
        #expect(other.key != Ends().key)
    }

    /// `==` and the hash are written out word by word: no bit may be forgotten.
    @Test func everyBitOfEveryFieldCounts() {
        var keys = bits(\.endpoint) + bits(\.lowAddress.low) + bits(\.lowAddress.high)
        keys += bits(\.highAddress.low) + bits(\.highAddress.high)
        keys += bits(\.lowPort) + bits(\.highPort)
        keys += bits(\.protocolNumber) + bits(\.version) + bits(\.fragment)
        #expect(keys.count == 5 * 64 + 2 * 16 + 3 * 8)
        let base = Ends().key
        let bad = failures(keys) {
            $0 != base && $0.hash(seed: Self.seed) != base.hash(seed: Self.seed)
        }
        #expect(bad.isEmpty)
        #expect(Set(keys).count == keys.count)
        #expect(Set(keys.map { $0.hash(seed: Self.seed) }).count == keys.count)
    }

    @Test func hashDependsOnTheSeed() {
        let hashes = (0..<1000 as Range<UInt64>).map { Ends().key.hash(seed: $0) }
        #expect(Set(hashes).count == 1000)
    }

    /// The flow table takes buckets from some bits and tags from others: all must spread, for
    /// neighbouring addresses and ports too.
    @Test(arguments: [0, 20, 54] as [UInt64])
    func hashSpreadsOverTheBits(from shift: UInt64) {
        let buckets = 1024
        let flows = 32_768
        var counts = [Int](repeating: 0, count: buckets)
        for i in 0..<flows {
            var ends = Ends()
            ends.source.low += UInt64(i / 256)
            ends.sourcePort = UInt16(1024 + i % 256)
            counts[Int((ends.key.hash(seed: Self.seed) >> shift) % UInt64(buckets))] += 1
        }
        #expect(Spread(counts).isEven)
    }

    /// The key of `Ends()` with each single bit of one field flipped.
    private func bits<Value: FixedWidthInteger>(
        _ field: WritableKeyPath<FlowKey, Value>
    ) -> [FlowKey] {
        (0..<Value.bitWidth).map { bit in
            var key = Ends().key
            key[keyPath: field] ^= 1 << Value(bit)
            return key
        }
    }
}
