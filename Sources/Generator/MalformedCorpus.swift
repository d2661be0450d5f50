import Gateway
import Wire

/// A packet with one fault, for `--malformed`.
public struct MalformedPacket: Sendable {
    /// What a right appliance does with it, whatever its policy.
    public enum Expectation: Sendable {
        case drop
        /// It comes back unchanged, addresses swapped as always: what looks wrong must not
        /// matter to who only forwards.
        case pass
    }

    /// Layer and fault: "geneve/version 2".
    public let name: String
    public let expectation: Expectation
    fileprivate let spoil: @Sendable (inout Draft) -> Void

    fileprivate init(
        _ name: String, _ expectation: Expectation = .drop,
        _ spoil: @escaping @Sendable (inout Draft) -> Void
    ) {
        self.name = name
        self.expectation = expectation
        self.spoil = spoil
    }

    /// The outer packet, from the first byte of its IP header; at most 512 bytes. The outer
    /// checksums are right except where they are the fault.
    ///
    /// Outer addresses, port, ids and cookie are the header's. Inside is UDP without anything that
    /// a policy looks for, with the header's source port; the inner version is the fault's own.
    public func bytes(_ header: GatewayHeader, checksum: OuterChecksum = .valid) -> [UInt8] {
        var draft = Draft(header)
        spoil(&draft)
        return draft.bytes(checksum)
    }
}

/// The named packets of `--malformed`: faults in every layer, from the outer header inwards.
///
/// Left out is what a right appliance may answer either way: a wrong outer UDP checksum, which
/// depends on who verifies it.
public enum MalformedCorpus {
    public static let all = join([
        outerHeader, geneveHeader, options, awsOptions, innerIPv4, innerIPv6, innerExtensions,
        innerTransport,
    ])

    private static func join(_ groups: [[MalformedPacket]]) -> [MalformedPacket] {
        groups.flatMap { $0 }
    }

    /// One packet for each number.
    private static func each(
        _ numbers: some Sequence<Int>, _ packet: (Int) -> MalformedPacket
    ) -> [MalformedPacket] { numbers.map(packet) }

    /// Some packets for each number.
    private static func every(
        _ numbers: some Sequence<Int>, _ packets: (Int) -> [MalformedPacket]
    ) -> [MalformedPacket] { numbers.flatMap(packets) }

    // ---- Outer IPv4 and UDP (RFC 791, RFC 768).

    private static let outerHeader = join([
        each([0, 5, 6, 15]) { version in
            MalformedPacket("outer/version \(version)") { $0.outerVersion = version }
        },
        each([0, 4, 15]) { words in
            MalformedPacket("outer/IHL \(words)") { $0.outerWords = words }
        },
        each([0, 19, 27, 9999]) { length in
            MalformedPacket("outer/total length \(length)") { $0.outerLength = length }
        },
        each([0, 7, 9999]) { length in
            MalformedPacket("outer/UDP length \(length)") { $0.udpLength = length }
        },
        [MalformedPacket("outer/header checksum") { $0.spoilsHeaderChecksum = true }],
        each([1, 19, 20, 27, 36, 67]) { length in
            MalformedPacket("outer/cut to \(length)") { $0.keep = length }
        },
        [MalformedPacket("outer/last byte missing") { $0.keep = -1 }],
    ])

    // ---- Geneve (RFC 8926 §3.4).

    private static let geneveHeader = join([
        each([1, 2, 3]) { version in
            MalformedPacket("geneve/version \(version)") { $0.version = version }
        },
        [
            MalformedPacket("geneve/O bit") { $0.flags = 0x80 },
            MalformedPacket("geneve/O and C bits") { $0.flags = 0xC0 },
        ],
        each([0, 0x0806, 0x6558, 0x8847, 0x86DE, 0xFFFF]) { type in
            MalformedPacket("geneve/protocol 0x\(String(type, radix: 16))") {
                $0.protocolType = type
            }
        },
        [
            MalformedPacket("geneve/IPv6 announced, IPv4 inside") { $0.protocolType = 0x86DD },
            MalformedPacket("geneve/IPv4 announced, IPv6 inside") {
                $0.inner = $0.udp6()
                $0.protocolType = 0x0800
            },
            MalformedPacket("geneve/inner version 5") {
                $0.inner[0] = 0x55
                $0.protocolType = 0x0800
            },
        ],
        each(0...7) { count in
            MalformedPacket("geneve/\(count) bytes") { $0.geneveKeep = count }
        },
        [
            MalformedPacket("geneve/reserved bits", .pass) {
                $0.flags = 0x3F
                $0.reserved = 0xFF
            },
            MalformedPacket("geneve/VNI 0xabcdef", .pass) { $0.vni = 0xABCDEF },
        ],
    ])

    // ---- Options (RFC 8926 §3.5).

    private static let options = join([
        every(0...3) { place in
            [0, 0x40].map { flags in
                let bit = flags == 0 ? "clear" : "set"
                return MalformedPacket("options/critical at \(place), C bit \(bit)") {
                    $0.flags = flags
                    $0.options.insert(Option(0x0107, 0x80, [1, 2, 3, 4]), at: place)
                }
            }
        },
        [
            MalformedPacket("options/critical of AWS's class") {
                $0.flags = 0x40
                $0.options.append(Option(0x0108, 0x81, [0, 0, 0, 0]))
            }
        ],
        each([1, 2, 31]) { words in
            MalformedPacket("options/last \(words) words too long") {
                $0.options.append(Option(0x0109, 1, [], words: words))
            }
        },
        each([9, 63]) { words in
            MalformedPacket("options/Opt Len \(words) behind the end") {
                $0.inner = []
                $0.optionWords = words
            }
        },
        each([7, 4, 1]) { words in
            MalformedPacket("options/Opt Len \(words) within an option") { $0.optionWords = words }
        },
        [
            MalformedPacket("options/unknown, not critical", .pass) {
                $0.options.insert(Option(0x0107, 0x7F, [1, 2, 3, 4]), at: 1)
            },
            MalformedPacket("options/unknown, without data", .pass) {
                $0.options.append(Option(0x0107, 0x01, []))
            },
        ],
    ])

    // ---- The three options of AWS, each exactly once.

    private static let awsOptions = join([
        [
            MalformedPacket("aws/none") { $0.options = [] },
            MalformedPacket("aws/another class") {
                $0.options = $0.options.map { Option(0x0167, $0.type, $0.data) }
            },
        ],
        every(0...2) { i in
            [
                MalformedPacket("aws/without \(i + 1)") { $0.options.remove(at: i) },
                MalformedPacket("aws/only \(i + 1)") { $0.options = [$0.options[i]] },
                MalformedPacket("aws/twice \(i + 1)") { $0.options.append($0.options[i]) },
                MalformedPacket("aws/\(i + 1) without data") { $0.options[i].data = [] },
                MalformedPacket("aws/\(i + 1) too long") {
                    $0.options[i].data += [0, 0, 0, 0]
                },
            ]
        },
        [
            MalformedPacket("aws/in another order", .pass) { $0.options.reverse() }
        ],
    ])

    // ---- Inner IPv4 (RFC 791).

    private static let innerIPv4 = join([
        each([0, 1, 4]) { words in
            MalformedPacket("inner IPv4/IHL \(words)") { $0.inner[0] = 0x40 | UInt8(words) }
        },
        [
            MalformedPacket("inner IPv4/IHL beyond the total length") {
                $0.inner = Array($0.inner[0..<36])
                set16(&$0.inner, 2, 36)
                $0.inner[0] = 0x4F
            },
            MalformedPacket("inner IPv4/nothing") {
                $0.inner = []
                $0.protocolType = 0x0800
            },
        ],
        each([0, 19, 9999, 0xFFFF]) { length in
            MalformedPacket("inner IPv4/total length \(length)") { set16(&$0.inner, 2, length) }
        },
        each([1, 19, 20, 28]) { length in
            MalformedPacket("inner IPv4/cut to \(length)") {
                $0.inner.removeLast($0.inner.count - length)
            }
        },
        [
            MalformedPacket("inner IPv4/last byte missing") { $0.inner.removeLast() },
            MalformedPacket("inner IPv4/header checksum", .pass) { $0.inner[10] ^= 0x55 },
            MalformedPacket("inner IPv4/trailing bytes", .pass) { $0.inner += [1, 2, 3, 4, 5] },
            MalformedPacket("inner IPv4/unknown protocol", .pass) {
                $0.inner = $0.ipv4(253, [0xFF, 0xFF, 0xFF])
            },
            MalformedPacket("inner IPv4/options of nonsense", .pass) {
                let datagram = Array($0.inner[20...])
                $0.inner = $0.ipv4(17, datagram, options: [0xFF, 0xFF, 0, 0xFF])
            },
        ],
    ])

    // ---- Inner IPv6 (RFC 8200).

    private static let innerIPv6 = join([
        each([1, 39, 40, 48]) { length in
            MalformedPacket("inner IPv6/cut to \(length)") {
                $0.inner = Array($0.udp6()[0..<length])
            }
        },
        [
            MalformedPacket("inner IPv6/last byte missing") { $0.inner = $0.udp6().dropLast() },
            MalformedPacket("inner IPv6/nothing") {
                $0.inner = []
                $0.protocolType = 0x86DD
            },
            MalformedPacket("inner IPv6/trailing bytes", .pass) {
                $0.inner = $0.udp6() + [1, 2, 3, 4, 5]
            },
        ],
        each([9999, 0xFFFF]) { length in
            MalformedPacket("inner IPv6/payload length \(length)") {
                $0.inner = $0.udp6()
                set16(&$0.inner, 4, length)
            }
        },
    ])

    /// Extension headers: hop-by-hop 0, routing 43, fragment 44, destination options 60.
    private static let innerExtensions = join([
        every([0, 43, 44, 60]) { number in
            [0, 1, 7].map { count in
                MalformedPacket("inner IPv6/extension \(number) of \(count) bytes") {
                    let start: [UInt8] = [17, 0, 0, 0, 0, 0, 0]
                    $0.inner = $0.ipv6(number, Array(start[0..<count]))
                }
            }
        },
        each([0, 43, 60]) { number in
            MalformedPacket("inner IPv6/extension \(number) longer than the packet") {
                $0.inner = $0.ipv6(number, [17, 1] + [UInt8](repeating: 0, count: 13))
            }
        },
        each([9, 40]) { count in
            MalformedPacket("inner IPv6/\(count) extension headers") { draft in
                let chain = (0..<count).flatMap { i in
                    [i + 1 < count ? 60 : 17, 0, 1, 4, 0, 0, 0, 0] as [UInt8]
                }
                draft.inner = draft.ipv6(60, chain + draft.udpDatagram())
            }
        },
    ])

    // ---- Inner UDP, TCP, ICMP: what only forwards need not care.

    private static let innerTransport = join([
        each([0, 7, 9999]) { length in
            MalformedPacket("inner UDP/length \(length)", .pass) { set16(&$0.inner, 24, length) }
        },
        [
            MalformedPacket("inner UDP/checksum", .pass) { $0.inner[26] ^= 0x55 },
            MalformedPacket("inner UDP/checksum over IPv6", .pass) {
                $0.inner = $0.udp6()
                $0.inner[46] ^= 0x55
            },
            MalformedPacket("inner UDP/header of 4 bytes", .pass) {
                $0.inner = $0.ipv4(17, Array($0.udpDatagram()[0..<4]))
            },
            MalformedPacket("inner TCP/checksum", .pass) {
                $0.inner = $0.ipv4(6, $0.tcpSegment(words: 5))
            },
            MalformedPacket("inner TCP/data offset beyond the end", .pass) {
                $0.inner = $0.ipv4(6, $0.tcpSegment(words: 15))
            },
            MalformedPacket("inner TCP/header of 7 bytes", .pass) {
                $0.inner = $0.ipv4(6, Array($0.tcpSegment(words: 5)[0..<7]))
            },
            MalformedPacket("inner ICMP/checksum", .pass) {
                // An echo request whose sequence number, 1, no policy looks for.
                $0.inner = $0.ipv4(1, [8, 0, 0, 0, 0, 7, 0, 1, 1, 2, 3, 4])
            },
            MalformedPacket("inner ICMP/header of 3 bytes", .pass) {
                $0.inner = $0.ipv4(1, [8, 0, 0])
            },
        ],
    ])
}

/// One Geneve option as it goes on the wire.
private struct Option: Sendable {
    var optionClass: Int
    var type: Int
    /// A multiple of four bytes.
    var data: [UInt8]
    /// The length it claims, in words; nil = that of its data.
    var words: Int?

    init(_ optionClass: Int, _ type: Int, _ data: [UInt8], words: Int? = nil) {
        self.optionClass = optionClass
        self.type = type
        self.data = data
        self.words = words
    }

    var bytes: [UInt8] {
        [
            UInt8(optionClass >> 8), UInt8(optionClass & 0xFF), UInt8(type),
            UInt8(words ?? data.count / 4),
        ] + data
    }
}

/// An outer packet in the making: right, until a field is changed. Nil = the right value.
private struct Draft {
    let header: GatewayHeader

    var outerVersion = 4
    var outerWords = 5
    var outerLength: Int?
    var spoilsHeaderChecksum = false
    var udpLength: Int?
    var version = 0
    var optionWords: Int?
    /// O, C and six reserved bits.
    var flags = 0
    var protocolType: Int?
    var vni = 0
    var reserved = 0
    var options: [Option]
    var inner: [UInt8] = []
    /// A right datagram that ends after so many bytes of Geneve.
    var geneveKeep: Int?
    /// Outer bytes that are sent, whatever the lengths say; negative counts from the end.
    var keep: Int?

    init(_ header: GatewayHeader) {
        self.header = header
        options = [
            Option(0x0108, 1, big(header.endpoint)), Option(0x0108, 2, big(header.attachment)),
            Option(0x0108, 3, big(header.cookie)),
        ]
        inner = ipv4(17, udpDatagram())
    }

    // ---- Inside: from the addresses that RFC 2544 sets aside for this, to the discard port.

    private static let source: [UInt8] = [198, 18, 0, 1]
    private static let destination: [UInt8] = [198, 19, 0, 1]
    /// 2001:2::/48, RFC 5180.
    private static let source6: [UInt8] = [0x20, 1, 0, 2] + [UInt8](repeating: 0, count: 11) + [1]
    private static let destination6: [UInt8] =
        [0x20, 1, 0, 2] + [UInt8](repeating: 0, count: 11) + [2]

    /// A datagram for IPv4, its checksum right.
    func udpDatagram() -> [UInt8] { udpDatagram(Self.source, Self.destination) }

    private func udpDatagram(_ source: [UInt8], _ destination: [UInt8]) -> [UInt8] {
        let text = Array("one fault in an otherwise fine packet".utf8)
        let ports = big(header.sourcePort) + big(9 as UInt16)
        var datagram = ports + big(UInt16(8 + text.count)) + [0, 0] + text
        set16(&datagram, 6, Int(udpChecksum(source, destination, datagram)))
        return datagram
    }

    /// A segment whose checksum is wrong.
    func tcpSegment(words: Int) -> [UInt8] {
        big(header.sourcePort) + big(9 as UInt16) + big(1 as UInt32) + big(1 as UInt32)
            + [UInt8(words << 4), 0x18, 0x20, 0, 0x12, 0x34, 0, 0] + Array("data".utf8)
    }

    func udp6() -> [UInt8] { ipv6(17, udpDatagram(Self.source6, Self.destination6)) }

    func ipv4(_ protocolNumber: Int, _ payload: [UInt8], options: [UInt8] = []) -> [UInt8] {
        let words = 5 + options.count / 4
        var packet: [UInt8] = [0x40 | UInt8(words), 0] + big(UInt16(words * 4 + payload.count))
        packet += [0, 1, 0, 0, 63, UInt8(protocolNumber), 0, 0]
        packet += Self.source + Self.destination + options
        set16(&packet, 10, Int(checksum(packet)))
        return packet + payload
    }

    func ipv6(_ nextHeader: Int, _ payload: [UInt8]) -> [UInt8] {
        [0x60, 0, 0, 0] + big(UInt16(payload.count)) + [UInt8(nextHeader), 63] + Self.source6
            + Self.destination6 + payload
    }

    // ---- Outside.

    func bytes(_ outerChecksum: OuterChecksum) -> [UInt8] {
        let optionBytes = options.flatMap(\.bytes)
        let innerType = inner.first.map { $0 >> 4 } == 6 ? 0x86DD : 0x0800
        var geneve: [UInt8] = [
            UInt8(version << 6 | (optionWords ?? optionBytes.count / 4)), UInt8(flags),
        ]
        geneve += big(UInt16(protocolType ?? innerType)) + big(UInt32(vni << 8 | reserved))
        geneve += optionBytes + inner
        if let geneveKeep { geneve = Array(geneve[0..<geneveKeep]) }

        var udp = big(header.sourcePort) + big(GeneveHeader.port)
        udp += big(UInt16(udpLength ?? 8 + geneve.count)) + [0, 0] + geneve
        if outerChecksum == .valid {
            set16(&udp, 6, Int(udpChecksum(big(header.node), big(header.target), udp)))
        }
        var packet: [UInt8] = [UInt8(outerVersion << 4 | outerWords), 0]
        packet += big(UInt16(outerLength ?? 20 + udp.count)) + [0, 0, 0, 0, 255, IPProtocol.udp]
        packet += [0, 0] + big(header.node) + big(header.target)
        set16(&packet, 10, Int(checksum(packet)) ^ (spoilsHeaderChecksum ? 0x5555 : 0))
        packet += udp
        if let keep { packet = Array(packet[0..<(keep < 0 ? packet.count + keep : keep)]) }
        return packet
    }
}

// ---- Bytes.

private func big<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
    (0..<T.bitWidth / 8).map { UInt8(truncatingIfNeeded: value >> (T.bitWidth - 8 - $0 * 8)) }
}

private func set16(_ bytes: inout [UInt8], _ at: Int, _ value: Int) {
    bytes.replaceSubrange(at..<at + 2, with: big(UInt16(value)))
}

private func checksum(_ bytes: [UInt8]) -> UInt16 {
    var bytes = bytes
    return withPacketView(&bytes) { view in
        var sum = InternetChecksum()
        sum.add(view, at: 0, count: view.count)
        return sum.checksum
    }
}

/// Of a datagram whose checksum field is zero, with the pseudo-header of RFC 768 and RFC 8200
/// §8.1; never zero.
private func udpChecksum(
    _ source: [UInt8], _ destination: [UInt8], _ datagram: [UInt8]
) -> UInt16 {
    let pseudo = source + destination + [0, IPProtocol.udp] + big(UInt16(datagram.count))
    let sum = checksum(pseudo + datagram)
    return sum == 0 ? 0xFFFF : sum
}
