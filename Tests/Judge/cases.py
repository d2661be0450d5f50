"""The judged packets that are whole from outside to inside, group by group."""

from scapy.contrib.igmp import IGMP
from scapy.layers.inet import GRE, ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ND_NS,
    ICMPv6PacketTooBig,
    IPv6,
)
from scapy.layers.sctp import SCTP, SCTPChunkData
from scapy.layers.vxlan import VXLAN
from scapy.packet import Raw

from dice import CHAT, DESTINATION, HOP_BY_HOP, ROUTED, TROUBLE
from fragments import fragments, odd_fragments
from policy import CHAT_PORT, FIND, FORBIDDEN, MTU, WITH, drop, judge
from shapes import ZERO, Inner, opaque, segment

# Texts that look for trouble. Most are as the rules' strings, or nearly.
TEXTS = {
    "empty": b"",
    "one byte": b"x",
    "neutral": b"hello, world",
    "neutral, odd": b"hello, world!",
    "find alone": FIND,
    "find at the start": FIND + b" languages",
    "find at the end": b"Swift is not " + FIND,
    "find twice": b"a " + FIND + b" and " + FIND + b" b",
    "find thrice in a row": FIND * 3,
    "find at odd offsets": b"x" + FIND + b"yy" + FIND + b"z",
    "find many times": (FIND + b", ") * 40,
    "find, broken off": FIND + b" " + FIND[:-1],
    "find, restarted": b"weakly weakly typed typed weakly typed",
    "find, doubled letters": b"wweakly typedd",
    "find, binary around": b"\0\xff\0" + FIND + b"\0\0\xff",
    "find in upper case": FIND.upper(),
    "find in title case": b"Weakly typed, weakly Typed",
    "find with a NUL": b"weakly\0typed",
    "find with two spaces": b"weakly  typed",
    "with already": WITH,
    "drop alone": FORBIDDEN,
    "drop at the start": FORBIDDEN + b", please",
    "drop at the end": b"please " + FORBIDDEN,
    "drop many times": FORBIDDEN * 20,
    "drop in upper case": b"DROP ME, Drop me, drop Me",
    "drop, nearly": b"drop  me dropme drop m",
    "drop, doubled letters": b"ddrop mee",
    "drop, then find": FORBIDDEN + b" " + FIND,
    "find, then drop": FIND + b" " + FORBIDDEN,
    "drop in upper case, then find": b"DROP ME " + FIND,
}


def whole_packets(dice):
    groups = (
        opaque_protocols,
        tcp,
        nested_in_udp,
        chat,
        other_ports,
        checksums,
        computed_zeros,
        header_checksums,
        pings,
        other_icmp,
        fragments,
        odd_fragments,
        lying_transport,
        endless_datagrams,
        tails,
        edges,
        random_texts,
        outer_flaws,
    )
    for group in groups:
        yield from group(dice)


# ---- Packets that no rule concerns, whatever they carry.


def opaque_protocols(dice):
    """Tunnels and other protocols behind every IP header."""
    for name, number, data in protocols():
        for kind, network in dice.networks(number):
            packet = opaque(network / Raw(data))
            yield judge(f"opaque/{name}/{kind}", dice.outer(), packet)


def protocols():
    """(name, protocol number, bytes behind the IP header), all full of what the rules look for."""
    chat4 = IP(src="10.1.0.1", dst="10.1.0.2") / CHAT / TROUBLE
    chat6 = IPv6(src="fd00::1", dst="fd00::2") / CHAT / TROUBLE
    ports = CHAT_PORT.to_bytes(2, "big") * 2
    return [
        ("GRE", 47, bytes(GRE(proto=0x0800) / chat4)),
        ("IPv4 inside", 4, bytes(chat4)),
        ("IPv6 inside", 41, bytes(chat6)),
        ("ESP", 50, ports + b"\0\0\0\1" + TROUBLE),
        ("AH", 51, bytes([17, 4, 0, 0]) + bytes(20) + bytes(chat4[UDP])),
        ("SCTP", 132, bytes(SCTP(sport=CHAT_PORT, dport=CHAT_PORT) / SCTPChunkData(data=TROUBLE))),
        ("IGMP", 2, bytes(IGMP(type=0x16, gaddr="239.1.2.3"))),
        ("UDP-Lite", 136, ports + b"\0\x08\0\0" + TROUBLE),
        ("DCCP", 33, ports + TROUBLE),
        ("no next header", 59, TROUBLE),
        ("unassigned", 253, TROUBLE),
        ("nothing behind", 253, b""),
    ]


def tcp(dice):
    """A string in TCP is neither dropped nor rewritten by the blog policy."""
    shapes = [
        {"flags": "S", "options": [("MSS", 1460), ("NOP", None), ("WScale", 7)]},
        {"flags": "PA", "options": [("Timestamp", (1, 2))]},
        {"flags": "FA"},
        {"flags": "R"},
    ]
    for i, (kind, network) in enumerate(dice.networks(6)):
        for flaw in (None, dice.error()):
            ports = {"sport": 40000, "dport": CHAT_PORT}
            header = TCP(**ports, seq=dice.number(), **shapes[i % len(shapes)])
            inner = Inner(network, header, TROUBLE[i % 2 :], flaw)
            yield judge(f"tcp/{kind}/{'right' if flaw is None else 'wrong'}", dice.outer(), inner)


def nested_in_udp(dice):
    """VXLAN and Geneve inside are opaque UDP."""
    chat = IP(src="10.1.0.1", dst="10.1.0.2") / CHAT / TROUBLE
    for port, header in ((4789, bytes(VXLAN(vni=5))), (6081, b"\0\0\x08\0\0\0\5\0")):
        for kind, network in dice.networks(17)[:5]:
            inner = Inner(network, UDP(sport=50000, dport=port), header + bytes(chat))
            yield judge(f"nested/{port}/{kind}", dice.outer(), inner)


# ---- The strings of the policy.


def chat(dice):
    for text_name, text in TEXTS.items():
        for kind, network in dice.networks(17):
            inner = dice.chat(network, text, flaw=dice.udp_flaw(network))
            yield judge(f"chat/{text_name}/{kind}", dice.outer(), inner)


def other_ports(dice):
    ports = [(2999, 3001), (3001, 2999), (50000, 30000), (0xB80B, 0x0BB9), (0, 0), (53, 65535)]
    for i, (text_name, text) in enumerate(TEXTS.items()):
        source, destination = ports[i % len(ports)]
        network = dice.ipv6(17) if i % 2 else dice.ipv4(17)
        inner = Inner(network, UDP(sport=source, dport=destination), text)
        yield judge(f"other ports/{text_name}/{source} to {destination}", dice.outer(), inner)


def random_texts(dice):
    """Texts thrown together from pieces of the strings."""
    pieces = [FIND, FIND, WITH, FORBIDDEN[:-1], FIND[:5], FIND[6:], b"a", b" ", b"\0", b"typed"]
    networks = [network for _ in range(14) for network in dice.networks(17)]
    for i, (kind, network) in enumerate(networks):
        text = b"".join(dice.pick(*pieces) for _ in range(dice.random.randrange(1, 40)))
        if i % 10 == 0:
            text += FORBIDDEN + dice.text(i % 7)
        inner = dice.chat(network, text, flaw=dice.udp_flaw(network))
        yield judge(f"random/{kind}/{i}", dice.outer(), inner)


# ---- Checksums.


def checksums(dice):
    """Right, none and wrong inside; right and none outside; with and without a rewrite."""
    for flaw in (None, ZERO, 1, 0xFFFE, 0x8000, dice.error()):
        for outer_flaw in (None, ZERO):
            for text in ("neutral, odd", "find alone", "find at odd offsets"):
                for kind, network in (("IPv4", dice.ipv4(17)), ("IPv6", dice.ipv6(17))):
                    name = f"checksums/{kind}/{text}/inner {flaw}/outer {outer_flaw}"
                    inner = dice.chat(network, TEXTS[text], flaw=flaw)
                    yield judge(name, dice.outer(flaw=outer_flaw), inner)


def computed_zeros(dice):
    """Checksums that come out as 0 before or after the rewrite and are sent as 0xFFFF (RFC 768)."""
    for kind, network in dice.networks(17):
        for when in ("before", "after"):
            inner = balanced_inside(dice.chat(network, FIND + b"..", flaw=None), when)
            yield judge(f"computed zero/inner {when}/{kind}", dice.outer(flaw=ZERO), inner)
        # Wrong, and by so much that the changed one would be 0.
        right = checksum_of(network, UDP(sport=9, dport=CHAT_PORT), WITH)
        inner = Inner(network, UDP(sport=9, dport=CHAT_PORT), FIND, flaw=0xFFFF - right or None)
        yield judge(f"computed zero/inner wrong/{kind}", dice.outer(flaw=ZERO), inner)
        outer = dice.outer(flaw=None)
        inner = balanced_outside(outer, dice.chat(network, FIND + b"..", flaw=ZERO))
        yield judge(f"computed zero/outer/{kind}", outer, inner)


def checksum_of(network, transport, payload):
    return int.from_bytes(segment(network, transport, payload)[6:8], "big")


def balanced_inside(inner, when):
    """The last two bytes of the text make the checksum 0, before or after the rewrite."""
    text = inner.payload[:-2]
    shown = text if when == "before" else text.replace(FIND, WITH)
    right = checksum_of(inner.network, inner.transport, shown + b"\0\0")
    assert len(shown) % 2 == 0
    return Inner(inner.network, inner.transport, text + right.to_bytes(2, "big"))


def balanced_outside(outer, inner):
    """As above, for the outer checksum after the rewrite."""
    text = inner.payload[:-2]
    plain = Inner(inner.network, inner.transport, text.replace(FIND, WITH) + b"\0\0", inner.flaw)
    answer = IP(outer.turned_around().encode(plain.encode()))
    right = answer[UDP].chksum
    return Inner(inner.network, inner.transport, text + right.to_bytes(2, "big"), inner.flaw)


def header_checksums(dice):
    """A wrong inner IPv4 header checksum passes, but not together with a rewrite."""
    for text in ("empty", "neutral", "find alone", "find twice", "drop alone", "drop, then find"):
        for kind, network in dice.networks(17):
            if network.version == 4:
                inner = dice.chat(network, TEXTS[text], header_error=dice.error())
                yield judge(f"header checksum/{text}/{kind}", dice.outer(), inner)


def outer_flaws(dice):
    """A wrong outer checksum is looked at only for a rewrite (verify-outer-checksum: rewrites)."""
    for text in ("neutral", "find alone", "drop alone"):
        for kind, network in dice.networks(17):
            outer = dice.outer(flaw=dice.error())
            yield judge(f"outer checksum/{text}/{kind}", outer, dice.chat(network, TEXTS[text]))


# ---- ICMP.


def pings(dice):
    """Every fifth echo request and reply goes, by its sequence number."""
    for sequence in (0, 1, 2, 3, 4, 5, 6, 9, 10, 25, 255, 256, 1280, 3000, 0xFFFE, 0xFFFF):
        for kind in (8, 0):
            networks = [network for _, network in dice.networks(1) if network.version == 4]
            header = ICMP(type=kind, id=dice.random.randrange(65536), seq=sequence)
            flaw = dice.pick(None, None, dice.error())
            inner = Inner(dice.pick(*networks), header, dice.bytes(sequence % 61), flaw)
            yield judge(f"ping/type {kind}/{sequence}", dice.outer(), inner)


def other_icmp(dice):
    """Messages without a sequence number, cut ones, and ICMPv6."""
    quoted = IP(src="10.0.0.1", dst="10.0.0.2") / UDP()
    for layer in icmp_without_numbers():
        packet = opaque(dice.ipv4(1) / layer / quoted)
        yield judge(f"icmp/type {layer.type} code {layer.code}", dice.outer(), packet)
    for length in range(8):
        packet = dice.ipv4(1) / Raw(bytes(ICMP(type=8, seq=5))[:length])
        yield judge(f"icmp/cut to {length} bytes", dice.outer(), opaque(packet))
    for layer in icmpv6():
        for kind, network in dice.networks(58):
            if network.version == 6:
                packet = opaque(network / layer)
                yield judge(f"icmpv6/{layer.name}/{kind}", dice.outer(), packet)
    echo = bytes(ICMP(type=8, id=1, seq=5) / b"data")
    yield judge("icmp/in IPv6", dice.outer(), opaque(dice.ipv6(1) / Raw(echo)))
    yield judge("icmpv6/in IPv4", dice.outer(), opaque(dice.ipv4(58) / Raw(echo)))


def icmp_without_numbers():
    """Where an echo has its sequence number, these have 0, 5, or a number that does not count."""
    return [
        ICMP(type=3, code=1, nexthopmtu=0),
        ICMP(type=3, code=4, nexthopmtu=5),
        ICMP(type=4),
        ICMP(type=5, gw="0.0.0.5"),
        ICMP(type=11),
        ICMP(type=12, ptr=5),
        ICMP(type=13, seq=5, ts_ori=1, ts_rx=2, ts_tx=3),
        ICMP(type=17, seq=10),
    ]


def icmpv6():
    return [
        ICMPv6EchoRequest(id=1, seq=5, data=b"data"),
        ICMPv6EchoReply(id=1, seq=10, data=b"data"),
        ICMPv6ND_NS(tgt="fd00::5"),
        ICMPv6PacketTooBig(mtu=1280) / IPv6(src="fd00::1", dst="fd00::2"),
    ]


# ---- Lengths.


def lying_transport(dice):
    """Transport headers that are cut off or lie are opaque, not an error."""
    header = bytes(UDP(sport=CHAT_PORT, dport=CHAT_PORT, len=8, chksum=0))
    for length in range(8):
        for number in (6, 17):
            packet = dice.ipv4(number) / Raw(header[:length])
            yield judge(f"lying/{number}/{length} bytes", dice.outer(), opaque(packet))
    for length in (0, 7, 21, 0xFFFF):
        for network in (dice.ipv4(17), dice.ipv6(17)):
            lie = UDP(sport=CHAT_PORT, dport=53, len=length, chksum=0x1234) / Raw(b"twelve bytes")
            name = f"lying/IPv{network.version}/UDP length {length}"
            yield judge(name, dice.outer(), opaque(network / lie))
    for words in (0, 4, 15):
        lie = TCP(sport=CHAT_PORT, dport=53, dataofs=words) / Raw(b"twelve bytes")
        yield judge(f"lying/TCP data offset {words}", dice.outer(), opaque(dice.ipv4(6) / lie))


def endless_datagrams(dice):
    """UDP over IPv6 with length 0 runs to the end of the packet (RFC 2675 section 4)."""
    outcomes = ((b"hello", None), (b"so drop me.", "rule"), (b"weakly typed", "inner_malformed"))
    for extensions in ((), (HOP_BY_HOP,), (DESTINATION, ROUTED)):
        for text, reason in outcomes:
            datagram = UDP(sport=CHAT_PORT, dport=53, len=0, chksum=0x1234) / Raw(text)
            inner = opaque(dice.ipv6(17, *extensions) / datagram)
            outer = dice.outer()
            name = f"endless/{len(extensions)} extensions/{text.decode()}"
            if reason:
                yield drop(name, outer.encode(inner.encode()), reason)
            else:
                yield judge(name, outer, inner)


def tails(dice):
    """Bytes behind the UDP datagram, the inner packet, the outer datagram: never searched."""
    tail_texts = (b"\0", b"\0\0\0\0", FIND, FORBIDDEN, TROUBLE + b"!")
    for where in ("beyond", "trailing", "outer", "both"):
        for tail in tail_texts:
            for text in ("neutral, odd", "find at odd offsets", "drop alone"):
                for network in (dice.ipv4(17), dice.ipv6(17)):
                    yield judge(
                        f"tails/{where}/{text}/{len(tail)} bytes/IPv{network.version}",
                        dice.outer(beyond=tail if where == "outer" else b""),
                        dice.chat(
                            network,
                            TEXTS[text],
                            flaw=dice.udp_flaw(network),
                            beyond=tail if where in ("beyond", "both") else b"",
                            trailing=tail if where in ("trailing", "both") else b"",
                        ),
                    )
    # A string that begins in the datagram and ends behind it.
    for whole in (FIND, FORBIDDEN):
        for where in ("beyond", "trailing"):
            inner = dice.chat(dice.ipv4(17), b"text " + whole[:5], **{where: whole[5:]})
            yield judge(f"tails/{where}/{whole.decode()} across", dice.outer(), inner)


def edges(dice):
    """Around the MTU of 8,500 inner bytes. Only a rewrite can make a packet too big."""
    for version in (4, 6):
        for finds in (1, 2, 100):
            for after in (MTU - 2, MTU - 1, MTU, MTU + 1, MTU + 2):
                network = dice.ipv4(17) if version == 4 else dice.ipv6(17)
                size = after - 2 * finds - len(network) - len(UDP())
                text = FIND * finds
                text = text.ljust(size, b".") if after % 2 else text.rjust(size, b".")
                name = f"edges/IPv{version}/{finds} finds/grows to {after}"
                trailing = b"\0" * dice.pick(0, 4)
                yield judge(name, dice.outer(), dice.chat(network, text, trailing=trailing))
        for size in (MTU, MTU + 1, 9000):
            for ending in (b"", FORBIDDEN):
                network = dice.ipv4(17) if version == 4 else dice.ipv6(17)
                text = ending.rjust(size - len(network) - len(UDP()), b".")
                name = f"edges/IPv{version}/{size} bytes/{ending.decode() or 'neutral'}"
                yield judge(name, dice.outer(), dice.chat(network, text))
    # The strings at every place of a small datagram.
    for before in range(16):
        text = b"-" * before + FIND + b"-" * (15 - before)
        yield judge(f"edges/find after {before}", dice.outer(), dice.chat(dice.ipv4(17), text))
        text = b"-" * before + FORBIDDEN + b"-" * (15 - before)
        yield judge(f"edges/drop after {before}", dice.outer(), dice.chat(dice.ipv6(17), text))
