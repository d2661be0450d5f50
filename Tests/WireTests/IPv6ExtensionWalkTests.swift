import SluiceTesting
import Testing
import Wire

@Suite struct IPv6ExtensionWalkTests {
    // Next-header values, RFC 8200 §4 and the IANA list it names.
    private static let hopByHop: UInt8 = 0
    private static let routing: UInt8 = 43
    private static let fragment: UInt8 = 44
    private static let noNext: UInt8 = 59
    private static let destination: UInt8 = 60

    /// A chain of headers that ends in UDP, then eight bytes that belong to UDP.
    private struct Chain {
        var numbers: [UInt8]
        /// Without the next-header octet of each.
        var bodies: [[UInt8]]
        var ending = IPProtocol.udp

        /// Headers of 8 bytes with nothing inside.
        init(_ numbers: [UInt8]) {
            self.numbers = numbers
            bodies = numbers.map { _ in [UInt8](repeating: 0, count: 7) }
        }

        var bytes: [UInt8] {
            zip(numbers.dropFirst() + [ending], bodies).flatMap { [$0] + $1 }
        }

        func walk(at start: Int = 0, end: Int? = nil, limit: Int = 8) -> IPv6ExtensionWalk? {
            let payload: [UInt8] = [0x0B, 0xB8, 0, 53, 0, 8, 0, 0]
            let lead = [UInt8](repeating: 0xEE, count: start)
            return read(lead + bytes + payload) { view in
                IPv6ExtensionWalk(
                    view, at: start, end: end ?? view.count,
                    nextHeader: numbers.first ?? ending, limit: limit)
            }
        }
    }

    @Test("RFC 8200 §4: the four kinds that are walked; ESP, AH and the rest end the walk")
    func kinds() {
        let walked = octets.filter(IPv6ExtensionWalk.isExtension)
        #expect(walked == [Self.hopByHop, Self.routing, Self.fragment, Self.destination])
    }

    @Test("RFC 8200 §4: without extension headers the walk ends where it starts")
    func none() {
        let bad = failures(octets.filter { !IPv6ExtensionWalk.isExtension($0) }) { number in
            let walk = read([]) {
                IPv6ExtensionWalk($0, at: 0, end: 0, nextHeader: number, limit: 8)
            }
            return walk?.protocolNumber == number && walk?.offset == 0 && walk?.count == 0
                && walk?.isFragment == false
        }
        #expect(bad.isEmpty)
    }

    @Test("RFC 8200 §4.3: a golden hop-by-hop header with router alert (RFC 2711)")
    func goldenHopByHop() throws {
        let bytes = hex(
            "3a",  // next header ICMPv6
            "00",  // length: 8 bytes
            "05 02 0000",  // router alert: MLD
            "01 00")  // PadN
        let walk = try #require(
            read(bytes) { IPv6ExtensionWalk($0, at: 0, end: 8, nextHeader: 0, limit: 8) })
        #expect(walk.protocolNumber == IPProtocol.icmpv6)
        #expect(walk.offset == 8)
        #expect(walk.count == 1)
        #expect(!walk.isFragment)
    }

    @Test(
        "RFC 8200 §4.3, §4.4, §4.6: Hdr Ext Len counts 8-byte units after the first, all values",
        arguments: [hopByHop, routing, destination])
    func headerLength(number: UInt8) {
        let bad = failures(octets) { units in
            var chain = Chain([number])
            chain.bodies = [[units] + [UInt8](repeating: 0, count: 6 + Int(units) * 8)]
            let length = 8 + Int(units) * 8
            return chain.walk()?.offset == length && chain.walk()?.protocolNumber == 17
                && chain.walk(end: length)?.offset == length && chain.walk(end: length - 1) == nil
        }
        #expect(bad.isEmpty)
    }

    // ---- Fragment header.

    @Test("RFC 8200 §4.5: a golden fragment header of a first fragment")
    func goldenFirstFragment() throws {
        let bytes = hex("11", "00", "0001", "deadbeef")  // UDP, reserved, offset 0 and M, id
        let walk = try #require(
            read(bytes) { IPv6ExtensionWalk($0, at: 0, end: 8, nextHeader: 44, limit: 8) })
        #expect(walk.protocolNumber == IPProtocol.udp)
        #expect(walk.fragmentProtocol == IPProtocol.udp)
        #expect(walk.offset == 8)
        #expect(walk.fragmentOffset == 0)
        #expect(walk.moreFragments)
        #expect(walk.isFragment)
    }

    @Test("RFC 8200 §4.5: offset, reserved bits and M, all 65,536 values")
    func fragmentField() {
        let bad = failures(words) { field in
            let walk = fragmentChain(field).walk()
            let offset = Int(field / 8) * 8
            let more = field % 2 == 1
            return walk?.fragmentOffset == offset && walk?.moreFragments == more
                && walk?.isFragment == (more || offset > 0) && walk?.offset == 8
        }
        #expect(bad.isEmpty)
    }

    @Test("RFC 8200 §4.5: the second octet is reserved, not a length")
    func fragmentReservedOctet() {
        let bad = failures(octets) { reserved in
            var chain = fragmentChain(1)
            chain.bodies[0][0] = reserved
            return chain.walk()?.offset == 8
        }
        #expect(bad.isEmpty)
    }

    @Test("RFC 6946 §4: an atomic fragment is a whole packet")
    func atomicFragment() throws {
        let walk = try #require(fragmentChain(0).walk())
        #expect(!walk.isFragment)
        #expect(walk.fragmentProtocol == 0)
        #expect(walk.protocolNumber == IPProtocol.udp)
        #expect(walk.offset == 8)
    }

    @Test("RFC 8200 §4.5: what follows the header of a later fragment is payload, not headers")
    func laterFragmentEndsTheWalk() throws {
        var chain = Chain([Self.fragment, Self.destination])
        chain.bodies[0] = fragmentBody(0x0008)
        let walk = try #require(chain.walk())
        #expect(walk.protocolNumber == Self.destination)
        #expect(walk.offset == 8)
        #expect(walk.count == 1)
    }

    @Test("RFC 8200 §4.5: a first fragment's headers are walked on to its transport header")
    func firstFragmentGoesOn() throws {
        var chain = Chain([Self.fragment, Self.destination])
        chain.bodies[0] = fragmentBody(0x0001)
        let walk = try #require(chain.walk())
        #expect(walk.protocolNumber == IPProtocol.udp)
        #expect(walk.offset == 16)
        #expect(walk.isFragment)
    }

    @Test("RFC 8200 §4.5: a packet's fragments agree on what their fragment header names")
    func fragmentProtocol() throws {
        for field: UInt16 in [0x0001, 0x0008, 0x0009] {
            var chain = Chain([Self.hopByHop, Self.fragment, Self.destination])
            chain.bodies[1] = fragmentBody(field)
            #expect(try #require(chain.walk()).fragmentProtocol == Self.destination)
        }
    }

    /// RFC 8200 §4.1: at most one. Hosts differ in what they make of two, so no packet has them.
    @Test(arguments: [0x0000, 0x0001] as [UInt16], [0x0000, 0x0001, 0x0008] as [UInt16])
    func `two fragment headers are refused`(first: UInt16, second: UInt16) throws {
        for between in [[], [Self.destination], [Self.hopByHop, Self.routing]] {
            var chain = Chain([Self.fragment] + between + [Self.fragment])
            chain.bodies[0] = fragmentBody(first)
            chain.bodies[chain.bodies.count - 1] = fragmentBody(second)
            #expect(chain.walk() == nil)
        }
    }

    @Test func `behind a later fragment's header nothing is read, not even another one`() throws {
        var chain = Chain([Self.fragment, Self.fragment])
        chain.bodies = [fragmentBody(0x0008), fragmentBody(0)]
        #expect(try #require(chain.walk()).count == 1)
    }

    // ---- Chains.

    @Test("RFC 8200 §4.1: the recommended order, with destination options twice")
    func recommendedOrder() throws {
        let chain = Chain([
            Self.hopByHop, Self.destination, Self.routing, Self.fragment, Self.destination,
        ])
        let walk = try #require(chain.walk(at: 3))
        #expect(walk.protocolNumber == IPProtocol.udp)
        #expect(walk.offset == 3 + 40)
        #expect(walk.count == 5)
    }

    @Test("RFC 8200 §4.7: nothing follows No Next Header")
    func noNextHeader() throws {
        var chain = Chain([Self.destination])
        chain.ending = Self.noNext
        #expect(try #require(chain.walk()).protocolNumber == Self.noNext)
    }

    @Test("At most eight extension headers pass, nine do not", arguments: 0...9)
    func limit(limit: Int) {
        // Of fragment headers there is one at most.
        let kinds = [Self.destination, Self.routing, Self.hopByHop]
        for count in 0...9 {
            let chain = Chain((0..<count).map { $0 == 3 ? Self.fragment : kinds[$0 % 3] })
            #expect(chain.walk(limit: limit)?.count == (count <= limit ? count : nil))
        }
    }

    @Test("RFC 8200 §4: a chain of every kind is nil when cut at any byte")
    func truncated() {
        var chain = Chain([Self.hopByHop, Self.routing, Self.fragment, Self.destination])
        chain.bodies[1] = [2] + [UInt8](repeating: 0, count: 22)
        let length = 8 + 24 + 8 + 8
        #expect(chain.bytes.count == length)
        for start in [0, 5] {
            let bad = failures(0..<length) { chain.walk(at: start, end: start + $0) == nil }
            #expect(bad.isEmpty)
            #expect(chain.walk(at: start, end: start + length)?.offset == start + length)
        }
    }

    @Test func randomBytesNeverTrapAndStayWithinBounds() {
        var random = SeededGenerator(seed: 44)
        for _ in 0..<20_000 {
            let bytes = random.bytes(Int(random.next() % 80))
            let number = [0, 43, 44, 60][Int(random.next() % 4)] as UInt8
            let walk = read(bytes) {
                IPv6ExtensionWalk($0, at: 0, end: $0.count, nextHeader: number, limit: 8)
            }
            guard let walk else { continue }
            let isSound = walk.offset <= bytes.count && (1...8).contains(walk.count)
            if !isSound { #expect(Bool(false), "\(bytes)") }
        }
    }

    private func fragmentChain(_ field: UInt16) -> Chain {
        var chain = Chain([Self.fragment])
        chain.bodies = [fragmentBody(field)]
        return chain
    }

    private func fragmentBody(_ field: UInt16) -> [UInt8] {
        [0] + bigEndian(field) + [1, 2, 3, 4]
    }
}
