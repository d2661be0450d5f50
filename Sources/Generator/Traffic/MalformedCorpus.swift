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
                    $0.options.insert(GeneveOptionDraft(0x0107, 0x80, [1, 2, 3, 4]), at: place)
                }
            }
        },
        [
            MalformedPacket("options/critical of AWS's class") {
                $0.flags = 0x40
                $0.options.append(GeneveOptionDraft(0x0108, 0x81, [0, 0, 0, 0]))
            }
        ],
        each([1, 2, 31]) { words in
            MalformedPacket("options/last \(words) words too long") {
                $0.options.append(GeneveOptionDraft(0x0109, 1, [], words: words))
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
                $0.options.insert(GeneveOptionDraft(0x0107, 0x7F, [1, 2, 3, 4]), at: 1)
            },
            MalformedPacket("options/unknown, without data", .pass) {
                $0.options.append(GeneveOptionDraft(0x0107, 0x01, []))
            },
        ],
    ])

    // ---- The three options of AWS, each exactly once.

    private static let awsOptions = join([
        [
            MalformedPacket("aws/none") { $0.options = [] },
            MalformedPacket("aws/another class") {
                $0.options = $0.options.map { GeneveOptionDraft(0x0167, $0.type, $0.data) }
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
