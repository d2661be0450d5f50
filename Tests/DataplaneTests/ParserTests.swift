import Dataplane
import PacketIO
import SluiceTesting
import Testing
import Wire

/// A packet, and why it is dropped; nil = it passes untouched.
struct Refusal: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var bytes: [UInt8]
    var reason: DropReason?
    var settings = PathSettings()
    var facts: FrameFacts = []

    /// - Parameters:
    ///   - build: changes the packet before it is built.
    ///   - bytes: changes it afterwards.
    ///   - seals: makes the outer header checksum right in the end.
    init(
        _ name: String, _ reason: DropReason?, _ settings: PathSettings = PathSettings(),
        facts: FrameFacts = [], inner: [UInt8] = PacketBuilder.udp4(40_000, 443, [1, 2, 3, 4]),
        seals: Bool = true, build change: (inout PacketBuilder) -> Void = { _ in },
        bytes edit: (inout [UInt8]) -> Void = { _ in }
    ) {
        testDescription = name
        self.reason = reason
        self.settings = settings
        self.facts = facts
        var builder = PacketBuilder(inner)
        change(&builder)
        bytes = builder.bytes()
        edit(&bytes)
        if seals { seal(&bytes) }
    }
}

/// Makes the outer IPv4 header checksum right, if there is a header.
private func seal(_ packet: inout [UInt8]) {
    let length = packet.isEmpty ? 0 : Int(packet[0] & 15) * 4
    guard length >= 20, length <= packet.count else { return }
    packet.replaceSubrange(10..<12, with: [0, 0])
    packet.replaceSubrange(10..<12, with: bigEndian(internetChecksum(Array(packet[0..<length]))))
}

private let subnets = AddressSet([(0x0A4D_0000, 24), (0x0A50_0001, 32)])

@Suite("The parser")
struct ParserTests {
    static let outer = [
        Refusal("a good packet", nil),
        Refusal("nothing at all", .outerMalformed, bytes: { $0 = [] }),
        Refusal("19 bytes", .outerMalformed, bytes: { $0 = Array($0[0..<19]) }),
        Refusal("20 bytes", .outerMalformed, bytes: { $0 = Array($0[0..<20]) }),
        Refusal("outer version 6", .outerMalformed, bytes: { $0[0] = 0x65 }),
        Refusal("outer header of 16 bytes", .outerMalformed, bytes: { $0[0] = 0x44 }),
        Refusal(
            "outer header beyond the packet", .outerMalformed,
            bytes: { $0 = [0x4F] + $0[1..<28] }),
        Refusal(
            "more outer length than bytes", .outerMalformed, bytes: { $0[2] = 0x40 }),
        Refusal(
            "less outer length than header", .outerMalformed,
            bytes: { $0.replaceSubrange(2..<4, with: [0, 19]) }),
        Refusal("outer TCP", .outerMalformed, bytes: { $0[9] = 6 }),
        Refusal(
            "no room for a UDP header", .outerMalformed,
            bytes: { $0.replaceSubrange(2..<4, with: [0, 27]) }),
        Refusal(
            "UDP length 7", .outerMalformed, bytes: { $0.replaceSubrange(24..<26, with: [0, 7]) }),
        Refusal("UDP length beyond IP", .outerMalformed, bytes: { $0[24] = 0x10 }),
        Refusal("another port", .outerMalformed, build: { $0.destinationPort = 6082 }),
        Refusal(
            "a wrong outer header checksum", .outerChecksum, seals: false, bytes: { $0[10] ^= 1 }),
        Refusal(
            "the same, verified by the kernel", nil, facts: .headerVerified, seals: false,
            bytes: { $0[10] ^= 1 }),
        Refusal(
            "outer options", nil, build: { $0.outerOptions = [UInt8](repeating: 1, count: 40) }),
        Refusal("an outer time to live of 0", .outerTTL, build: { $0.timeToLive = 0 }),
        Refusal("an outer time to live of 1", .outerTTL, build: { $0.timeToLive = 1 }),
        Refusal("an outer time to live of 2", nil, build: { $0.timeToLive = 2 }),
        Refusal(
            "a kept time to live of 0", .outerTTL, settings { $0.keepsOuterTTL = true },
            build: { $0.timeToLive = 0 }),
        Refusal(
            "a kept time to live of 1", nil, settings { $0.keepsOuterTTL = true },
            build: { $0.timeToLive = 1 }),
        Refusal("an outer don't-fragment", nil, build: { $0.flagsAndOffset = 0x4000 }),
        Refusal(
            "a truncated frame", .tooBig, facts: .truncated, bytes: { $0 = Array($0[0..<80]) }),
        Refusal(
            "a source that is not allowed", .sourceNotAllowed,
            settings { $0.allowedSources = subnets }, build: { $0.source = 0x0A4D_0101 }),
        Refusal(
            "an allowed source", nil, settings { $0.allowedSources = subnets },
            build: { $0.source = 0x0A4D_00FF }),
        Refusal(
            "another allowed source", nil, settings { $0.allowedSources = subnets },
            build: { $0.source = 0x0A50_0001 }),
        Refusal(
            "everyone is allowed", nil,
            settings { $0.allowedSources = AddressSet([(0, 0)]) },
            build: { $0.source = 0xFFFF_FFFE }),
        Refusal(
            "no one is allowed", .sourceNotAllowed,
            settings { $0.allowedSources = AddressSet([]) }),
        Refusal(
            "a wrong outer UDP checksum, always verified", .outerChecksum,
            settings { $0.verifyOuterChecksum = .always }, build: { $0.outerChecksum = .wrong }),
        Refusal(
            "a zero outer UDP checksum, always verified", nil,
            settings { $0.verifyOuterChecksum = .always }, build: { $0.outerChecksum = .zero }),
        Refusal(
            "a right outer UDP checksum, always verified", nil,
            settings { $0.verifyOuterChecksum = .always },
            build: { $0.outerOptions = [1, 1, 1, 1] }),
        Refusal(
            "a wrong outer UDP checksum, never verified", nil,
            settings { $0.verifyOuterChecksum = .never }, build: { $0.outerChecksum = .wrong }),
        Refusal(
            "a wrong outer UDP checksum, no rewrite", nil, build: { $0.outerChecksum = .wrong }),
    ]

    static let optional = settings { $0.requireAWSOptions = false }
    static let unknown = PacketBuilder.Option(0x0103, 0x7F, [1, 2, 3, 4])
    static let critical = PacketBuilder.Option(0x0103, 0x80, [])

    static let geneve = [
        Refusal("half a Geneve header", .geneveMalformed, bytes: { shorten(&$0, to: 28 + 7) }),
        Refusal("no Geneve header", .geneveMalformed, bytes: { shorten(&$0, to: 28) }),
        Refusal(
            "options beyond the packet", .geneveMalformed, bytes: { shorten(&$0, to: 28 + 39) }),
        Refusal("the longest options, not there", .geneveMalformed, bytes: { $0[28] = 0x3F }),
        Refusal("version 1", .geneveVersion, build: { $0.version = 1 }),
        Refusal("version 3", .geneveVersion, build: { $0.version = 3 }),
        Refusal("the O bit", .geneveControl, build: { $0.isControl = true }),
        Refusal(
            "the C bit without a critical option", nil, build: { $0.hasCriticalOptions = true }),
        Refusal("reserved bits", nil, build: { $0.reserved = (0x3F, 0xFF) }),
        Refusal("a VNI", nil, build: { $0.vni = 0xFFFFFF }),
        Refusal("an unknown option", nil, build: { $0.options.append(unknown) }),
        Refusal("an unknown option in front", nil, build: { $0.options.insert(unknown, at: 0) }),
        Refusal(
            "an unknown critical option", .geneveCriticalOption,
            build: { $0.options.append(critical) }),
        Refusal(
            "a critical option of AWS's class", .geneveCriticalOption,
            build: { $0.options.append(.init(0x0108, 0x81, [1, 2, 3, 4])) }),
        Refusal(
            "an unknown option of AWS's class", nil,
            build: { $0.options.append(.init(0x0108, 4, [])) }),
        Refusal("an option beyond Opt Len", .geneveMalformed, bytes: { $0[63] = 2 }),
        Refusal("options in any order", nil, build: { $0.options.reverse() }),
        Refusal(
            "63 words of options", nil,
            build: { $0.options += [.init(1, 1, fill(124)), .init(1, 2, fill(84))] }),
        Refusal("ARP inside", .geneveProtocol, build: { $0.protocolType = 0x0806 }),
        Refusal("Ethernet inside", .geneveProtocol, build: { $0.protocolType = 0x6558 }),
        Refusal("IPv4 called IPv6", .geneveProtocol, build: { $0.protocolType = 0x86DD }),
        Refusal(
            "IPv6 called IPv4", .geneveProtocol, inner: PacketBuilder.udp6(1, 2, []),
            build: { $0.protocolType = 0x0800 }),
        Refusal("no option at all", .awsOptions, build: { $0.options = [] }),
        Refusal("no endpoint", .awsOptions, build: { $0.options.remove(at: 0) }),
        Refusal("no attachment", .awsOptions, build: { $0.options.remove(at: 1) }),
        Refusal("no cookie", .awsOptions, build: { $0.options.remove(at: 2) }),
        Refusal("two cookies", .awsOptions, build: { $0.options.append(.cookie(1)) }),
        Refusal("two endpoints", .awsOptions, build: { $0.options.append(.endpoint(1)) }),
        Refusal(
            "an endpoint of 4 bytes", .awsOptions,
            build: { $0.options[0] = .init(0x0108, 1, [1, 2, 3, 4]) }),
        Refusal(
            "a cookie of 8 bytes", .awsOptions, build: { $0.options[2] = .init(0x0108, 3, fill(8)) }
        ),
        Refusal("an empty cookie", .awsOptions, build: { $0.options[2] = .init(0x0108, 3, []) }),
        Refusal("not required: no option at all", nil, optional, build: { $0.options = [] }),
        Refusal("not required: some", nil, optional, build: { $0.options.remove(at: 0) }),
        Refusal(
            "not required: still not twice", .awsOptions, optional,
            build: { $0.options.append(.cookie(1)) }),
        Refusal(
            "not required: still nothing critical", .geneveCriticalOption, optional,
            build: { $0.options = [critical] }),
    ]

    private static func fill(_ count: Int) -> [UInt8] { .init(repeating: 7, count: count) }

    /// Cuts a packet so that all outer lengths still agree.
    private static func shorten(_ packet: inout [UInt8], to count: Int) {
        packet = Array(packet[0..<count])
        packet.replaceSubrange(2..<4, with: bigEndian(UInt16(count)))
        packet.replaceSubrange(24..<26, with: bigEndian(UInt16(count - 20)))
    }

    static let innerV4 = PacketBuilder.udp4(40_000, 443, [1, 2, 3, 4])
    static let innerV6 = PacketBuilder.udp6(
        40_000, 443, [1, 2, 3, 4], extensions: [PacketBuilder.extensionHeader(60)])

    /// What is wrong with an inner packet: each is dropped, or passes when `on-error` says so.
    static let malformed: [(name: String, inner: [UInt8])] = [
        ("nothing inside", []),
        ("19 bytes", Array(innerV4[0..<19])),
        ("more length than bytes", Array(innerV4[0..<innerV4.count - 1])),
        ("less length than header", edited(innerV4, 2, [0, 19])),
        ("a header of 16 bytes", edited(innerV4, 0, [0x44])),
        ("a header beyond the packet", edited(innerV4, 0, [0x4F])),
        ("39 bytes", Array(innerV6[0..<39])),
        ("more IPv6 length than bytes", Array(innerV6[0..<innerV6.count - 1])),
        ("an extension header beyond the end", edited(innerV6, 41, [0xFF])),
        ("an extension chain without an end", edited(innerV6, 40, [60, 2])),
        (
            "nine extension headers",
            PacketBuilder.udp6(
                1, 2, [], extensions: (0..<9).map { _ in PacketBuilder.extensionHeader(60) })
        ),
        (
            "no room for a fragment header",
            PacketBuilder.ipv6(nextHeader: 44, [UInt8](repeating: 0, count: 7))
        ),
    ]

    private static func edited(_ packet: [UInt8], _ at: Int, _ new: [UInt8]) -> [UInt8] {
        var packet = packet
        packet.replaceSubrange(at..<at + new.count, with: new)
        return packet
    }

    static let onErrorForward = settings { $0.forwardsUndecodable = true }

    static let inner = malformed.flatMap { name, inner in
        [
            Refusal(name, .innerMalformed, inner: inner),
            Refusal(name + ", on-error: forward", nil, onErrorForward, inner: inner),
        ]
    }

    /// What is odd but no error: it passes as it is.
    static let odd = [
        Refusal("no payload", nil, inner: PacketBuilder.ipv4(protocolNumber: 17, [])),
        Refusal("a cut UDP header", nil, inner: PacketBuilder.ipv4(protocolNumber: 17, fill(7))),
        Refusal("a cut TCP header", nil, inner: PacketBuilder.ipv4(protocolNumber: 6, fill(19))),
        Refusal("UDP length 0", nil, inner: edited(innerV4, 24, [0, 0])),
        Refusal("UDP length beyond IP", nil, inner: edited(innerV4, 24, [0xFF, 0xFF])),
        Refusal(
            "a TCP header beyond IP", nil,
            inner: edited(PacketBuilder.tcp4(1, 2, []), 32, [0xF0])),
        Refusal(
            "a TCP header of 16 bytes", nil,
            inner: edited(PacketBuilder.tcp4(1, 2, []), 32, [0x40])),
        Refusal("no next header", nil, inner: PacketBuilder.ipv6(nextHeader: 59, fill(9))),
        Refusal("a wrong inner header checksum", nil, inner: edited(innerV4, 10, [0, 0])),
        Refusal("on-error: forward, and no error", nil, onErrorForward),
        Refusal(
            "on-error: forward, but a Geneve error", .geneveProtocol, onErrorForward,
            build: { $0.protocolType = 0x0806 }),
        Refusal(
            "on-error: forward, but no options", .awsOptions, onErrorForward,
            build: { $0.options = [] }),
    ]

    @Test(arguments: outer + geneve + inner + odd)
    func `each packet is dropped for its reason, or passes untouched`(_ refusal: Refusal) throws {
        var bench = try Bench(BlogPolicy.self, refusal.settings)
        let outcome = bench.outcome(of: refusal.bytes, facts: refusal.facts)
        if let reason = refusal.reason {
            #expect(outcome == .dropped(reason))
        } else {
            let hops: UInt8 = refusal.settings.keepsOuterTTL ? 0 : 1
            #expect(outcome == .forwarded(turned(refusal.bytes, hops: hops)))
        }
    }

    @Test func `the reasons of the parser are all there`() {
        let seen = Set((Self.outer + Self.geneve + Self.inner).compactMap(\.reason))
        let parsers: Set<DropReason> = [
            .outerMalformed, .outerChecksum, .sourceNotAllowed, .outerTTL, .geneveMalformed,
            .geneveVersion,
            .geneveControl, .geneveCriticalOption, .geneveProtocol, .awsOptions, .innerMalformed,
            .tooBig,
        ]
        #expect(seen == parsers)
    }

    /// The label is the enum's case in snake case: a closed list.
    @Test func `labels are the names of the closed list`() {
        let names = [
            "outer_malformed", "outer_checksum", "source_not_allowed", "outer_ttl",
            "geneve_malformed",
            "geneve_version", "geneve_control", "geneve_critical_option", "geneve_protocol",
            "aws_options", "inner_malformed", "inner_header_checksum", "rule", "default",
            "processor", "fragment", "unknown_tcp", "flow_table_full", "too_big", "send",
        ]
        #expect(DropReason.allCases.map(\.label) == names)
    }

    @Test func `a frame longer than its packet is cut to the packet`() throws {
        let packet = PacketBuilder(Self.innerV4)
        var bench = try Bench()
        #expect(bench.outcome(of: packet.bytes() + [0, 0, 0, 0, 0, 0]) == answer(to: packet))
    }

    @Test func `IP bytes behind the outer UDP datagram are no part of it`() throws {
        var padded = PacketBuilder(PacketBuilder.udp4(1, 3000, bytes("weakly typed"))).bytes()
        padded += bytes("drop me!")
        padded.replaceSubrange(2..<4, with: bigEndian(UInt16(padded.count)))
        seal(&padded)
        var bench = try Bench()
        let packet = PacketBuilder(PacketBuilder.udp4(1, 3000, bytes("weakly typed")))
        let strong = PacketBuilder.udp4(1, 3000, bytes("strongly typed"))
        #expect(bench.outcome(of: padded) == answer(to: packet, strong))
    }
}
