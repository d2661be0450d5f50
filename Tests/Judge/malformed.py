"""Packets with one fault each, and the drop reason it has."""

from scapy.layers.inet import IP, UDP
from scapy.packet import Raw

from dice import CHAT, DESTINATION
from policy import FIND, drop
from shapes import aws_option, aws_options, option


def malformed_packets(dice):
    """The strings are there: a packet that slips through would be rewritten."""
    for group in (outer_headers, geneve_headers, geneve_options, aws, inner_ipv4, inner_ipv6):
        for name, received, reason in group(dice):
            yield drop(f"malformed/{name}", received, reason)


def good_inner(dice, version=4):
    network = dice.ipv4(17) if version == 4 else dice.ipv6(17)
    return bytes(network / CHAT / Raw(FIND))


def outer_headers(dice):
    def packet(**changes):
        return dice.outer(**changes).encode(good_inner(dice))

    for version in (0, 5, 6, 15):
        yield f"outer/version {version}", packet(ip={"version": version}), "outer_malformed"
    for words in (0, 4):
        yield f"outer/IHL {words}", packet(ip={"ihl": words}), "outer_malformed"
    for length in (0, 19, 27, 9999):
        yield f"outer/total length {length}", packet(ip={"len": length}), "outer_malformed"
    for length in (0, 7, 9999):
        yield f"outer/UDP length {length}", packet(udp={"len": length}), "outer_malformed"
    for checksum in (0x0000, 0x1234, 0xFFFF):
        yield f"outer/checksum {checksum:#x}", packet(ip={"chksum": checksum}), "outer_checksum"
    for hops in (0, 1):
        yield f"outer/time to live {hops}", packet(ip={"ttl": hops}), "outer_ttl"
    whole = packet()
    for length in (1, 19, 20, 27, len(whole) - 1):
        yield f"outer/cut to {length}", whole[:length], "outer_malformed"


def geneve_headers(dice):
    def packet(**fields):
        return dice.outer(geneve=fields).encode(good_inner(dice))

    for version in (1, 2, 3):
        yield f"geneve/version {version}", packet(version=version), "geneve_version"
    yield "geneve/O bit", packet(oam=1), "geneve_control"
    yield "geneve/O and C bits", packet(oam=1, critical=1), "geneve_control"
    for number in (0, 0x0806, 0x6558, 0x8847, 0x86DE, 0xFFFF):
        yield f"geneve/protocol {number:#x}", packet(proto=number), "geneve_protocol"
    yield "geneve/IPv6 announced, IPv4 inside", packet(proto=0x86DD), "geneve_protocol"
    mixed = dice.outer(geneve={"proto": 0x0800}).encode(good_inner(dice, 6))
    yield "geneve/IPv4 announced, IPv6 inside", mixed, "geneve_protocol"
    for length in range(8):
        yield f"geneve/{length} bytes", short_datagram(dice, length), "geneve_malformed"


def short_datagram(dice, length):
    """A right outer datagram that ends within the Geneve header."""
    outer = dice.outer()
    header = outer.encode(b"", version=4)[-40:][:length]
    ports = UDP(sport=outer.source_port, dport=6081)
    return bytes(IP(src=outer.source, dst=outer.destination) / ports / Raw(header))


def geneve_options(dice):
    def packet(options, **fields):
        return dice.outer(options=options, geneve=fields).encode(good_inner(dice))

    for place in range(4):
        for c_bit in (0, 1):
            options = aws_options()
            options.insert(place, option(0x0107, 0x80 | place, b"data" * place))
            name = f"options/critical at {place}, C bit {c_bit}"
            yield name, packet(options, critical=c_bit), "geneve_critical_option"
    options = [*aws_options(), aws_option(0x81, bytes(8))]
    yield "options/critical of AWS's class", packet(options, critical=1), "geneve_critical_option"
    # The last option claims more data than Opt Len leaves.
    for words in (1, 2, 31):
        options = [*aws_options(), option(0x0109, 1)]
        options[-1].length = words
        yield f"options/{words} words too long", packet(options), "geneve_malformed"
    for words in (9, 63):
        received = dice.outer(options=aws_options(), geneve={"optionlen": words})
        name = f"options/Opt Len {words} behind the end"
        yield name, received.encode(b"", version=4), "geneve_malformed"
    for words in (7, 4, 1):
        name = f"options/Opt Len {words} within an option"
        yield name, packet(aws_options(), optionlen=words), "geneve_malformed"


def aws(dice):
    def packet(options):
        return dice.outer(options=options).encode(good_inner(dice))

    yield "aws/none", packet([]), "aws_options"
    yield "aws/another class", packet([option(0x0167, 1, bytes(8))]), "aws_options"
    for i in range(3):
        three = aws_options()
        yield f"aws/without {i + 1}", packet(three[:i] + three[i + 1 :]), "aws_options"
        yield f"aws/twice {i + 1}", packet([*three, three[i].copy()]), "aws_options"
        yield f"aws/only {i + 1}", packet([three[i]]), "aws_options"
        for length in (0, 4, 8, 12, 124):
            if length != len(three[i].data):
                three[i] = aws_option(i + 1, bytes(length))
                yield f"aws/{i + 1} with {length} bytes", packet(three), "aws_options"
                three = aws_options()


def inner_ipv4(dice):
    def packet(inner):
        return dice.outer().encode(inner, version=4)

    def header(**fields):
        transport = CHAT / Raw(FIND)
        return bytes(dice.ipv4(17, **fields) / transport)

    for words in (0, 1, 4):
        yield f"inner IPv4/IHL {words}", packet(header(ihl=words)), "inner_malformed"
    yield "inner IPv4/IHL beyond the total length", packet(header(ihl=15)), "inner_malformed"
    for length in (0, 19, 41, 0xFFFF):
        yield f"inner IPv4/total length {length}", packet(header(len=length)), "inner_malformed"
    whole = good_inner(dice)
    for length in (1, 19, 20, 28, len(whole) - 1):
        yield f"inner IPv4/cut to {length}", packet(whole[:length]), "inner_malformed"
    yield "inner IPv4/nothing", packet(b""), "inner_malformed"


def inner_ipv6(dice):
    def packet(inner):
        return dice.outer().encode(inner, version=6)

    whole = good_inner(dice, 6)
    for length in (1, 39, 40, 48, len(whole) - 1):
        yield f"inner IPv6/cut to {length}", packet(whole[:length]), "inner_malformed"
    yield "inner IPv6/nothing", packet(b""), "inner_malformed"
    transport = CHAT / Raw(FIND)
    for length in (21, 0xFFFF):
        lying = bytes(dice.ipv6(17, plen=length) / transport)
        yield f"inner IPv6/payload length {length}", packet(lying), "inner_malformed"
    nine = bytes(dice.ipv6(17, *[DESTINATION] * 9) / transport)
    yield "inner IPv6/nine extension headers", packet(nine), "inner_malformed"
    for number in (0, 43, 44, 60):
        for length in (0, 1, 7):
            cut = dice.ipv6(number) / Raw(bytes([17, 0, 0, 0, 0, 0, 0])[:length])
            name = f"inner IPv6/extension {number} of {length} bytes"
            yield name, packet(bytes(cut)), "inner_malformed"
        if number != 44:
            long = dice.ipv6(number) / Raw(bytes([17, 1] + [0] * 13))
            name = f"inner IPv6/extension {number} longer than the packet"
            yield name, packet(bytes(long)), "inner_malformed"
