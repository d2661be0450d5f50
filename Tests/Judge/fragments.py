"""Fragments. Each record is of a datagram of its own: no fragment follows its first one."""

from dataclasses import replace

from scapy.layers.inet import ICMP, TCP
from scapy.packet import Raw

from dice import CHAT, DESTINATION, TROUBLE, fragment_header
from policy import CHAT_PORT, FIND, FORBIDDEN, judge
from shapes import NUMBERS, Facts, Inner, Opaque, ipv6, segment

# Datagrams that come in fragments of this size, and what of a text the first one holds.
FRAGMENT = 256
FIRST = FRAGMENT - len(CHAT)
FRAGMENTED = {
    "neutral": b"." * 600,
    "find in the first": FIND.ljust(600, b"."),
    "find in the last": FIND.rjust(600, b"."),
    "find across": b"." * (FIRST - 6) + FIND.ljust(300, b"."),
    "drop in the first": FORBIDDEN.ljust(600, b"."),
    "drop at the end of the first": FORBIDDEN.rjust(FIRST, b".") + b"." * 300,
    "drop in the last": FORBIDDEN.rjust(600, b"."),
    "drop across": b"." * (FIRST - 3) + FORBIDDEN.ljust(300, b"."),
    # The second one begins like a datagram.
    "chat in the second": b"." * FIRST + bytes(CHAT / TROUBLE),
}


def fragments(dice):
    for text_name, text in FRAGMENTED.items():
        for family in (4, 6):
            for header in (CHAT, TCP(dport=CHAT_PORT)):
                for offset, part in split(dice, family, header, text, FRAGMENT):
                    name = f"fragments/{header.name} in IPv{family}/{text_name}/at {offset}"
                    yield judge(name, dice.outer(), part)
    for sequence in (4, 5):
        # Later fragments look like pings themselves.
        text = bytes(ICMP(type=8, seq=5)) * (FRAGMENT // 4)
        for offset, part in split(dice, 4, ICMP(seq=sequence), text, FRAGMENT):
            yield judge(f"fragments/ping {sequence}/at {offset}", dice.outer(), part)


def split(dice, family, header, text, size):
    """The fragments of one datagram: (offset, `Opaque`)."""
    number = NUMBERS[type(header)]
    network = dice.ipv4(number) if family == 4 else dice.ipv6(number)
    datagram = segment(network, header, text)
    for offset in range(0, len(datagram), size):
        more = offset + size < len(datagram)
        yield offset, piece(dice, network, header, datagram[offset : offset + size], offset, more)


def piece(dice, network, header, data, offset, more):
    """One fragment, of an id that no other has."""
    identification = dice.number()
    if network.version == 4:
        packet = network.copy()
        packet.id, packet.frag, packet.flags = identification, offset // 8, "MF" if more else 0
    else:
        extension = fragment_header(identification, offset // 8, int(more))
        packet = ipv6(network.src, network.dst, NUMBERS[type(header)], extension)
    return Opaque(bytes(packet / Raw(data)), fragment_facts(network, header, data, offset))


def fragment_facts(network, header, data, offset):
    if offset:
        return Facts(network.version, NUMBERS[type(header)], fragment="later")
    whole = Inner(network, header, data[len(header) :]).facts
    return replace(whole, fragment="first")


def odd_fragments(dice):
    """First fragments that hold hardly more than a header, more headers, or all of a datagram."""
    for family in (4, 6):
        for size in (8, 16, 24):
            for offset, part in list(split(dice, family, CHAT, TROUBLE, size))[:3]:
                name = f"fragments/IPv{family}/{size} bytes/at {offset}"
                yield judge(name, dice.outer(), part)
    for text in (FORBIDDEN, FIND, b"neutral"):
        network = dice.ipv6(17)
        data = segment(network, CHAT, text + b"." * 200)[:160]
        facts = fragment_facts(network, CHAT, data, 0)
        extensions = (fragment_header(dice.number(), 0, 1), DESTINATION)
        packet = ipv6(network.src, network.dst, 17, *extensions) / Raw(data)
        name = f"fragments/IPv6/options behind/{text.decode()}"
        yield judge(name, dice.outer(), Opaque(bytes(packet), facts))
        # By its UDP length the datagram is whole, yet more fragments are to come.
        for network in (dice.ipv4(17), dice.ipv6(17)):
            part = piece(dice, network, CHAT, segment(network, CHAT, text), 0, more=True)
            name = f"fragments/IPv{network.version}/all in the first/{text.decode()}"
            yield judge(name, dice.outer(), part)
