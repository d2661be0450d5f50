"""Packets that an attacker would send, and ordinary ones between them, from a seed.

A case is one packet or the fragments of one. Its number stands in the source address, so that
whatever a host makes of it can be told from everything else.
"""

import socket
import struct
from dataclasses import dataclass, field

from end_host import ADDRESS4, ADDRESS6, NUMBERS4, OTHER6
from packets import checksum

TEXT = b"dropme"
SECRET = b"secret"
HERE4, HERE6 = socket.inet_aton(ADDRESS4), socket.inet_pton(socket.AF_INET6, ADDRESS6)
THERE6 = socket.inet_pton(socket.AF_INET6, OTHER6)
MORE = 0x2000
SYN, ACK = 0x02, 0x10
OPENING = 0x17  # of SYN, ACK, RST and FIN what opens a connection has the first alone


@dataclass
class Part:
    """What one packet of a case is of the whole."""

    protocol: int
    shown: int  # bytes of transport header and data that rules see; 0 of a later fragment
    start: int = 0
    end: int = 0
    more: bool = False
    reaches: bool = True  # its TTL brings it to the host
    outwards: bool = False  # it comes from the host


@dataclass
class Case:
    number: int
    version: int
    what: list = field(default_factory=list)  # what was done to it, in words
    packets: list = field(default_factory=list)
    parts: list = field(default_factory=list)  # of each packet what it is of the whole
    opens: bool = False  # a packet of it is a SYN that may open a connection
    is_fragmented: bool = False
    answers: tuple = ()  # protocol, ports or type of what the host has asked for

    def add(self, packet, part):
        self.packets.append(packet)
        self.parts.append(part)


def source(case):
    if case.version == 4:
        return struct.pack("!I", NUMBERS4 + case.number)
    return b"\xfd" + bytes(11) + struct.pack("!I", case.number)


def header4(case, protocol, body, ttl=63, tos=0, ident=1, fragment=0, options=b"", total=None):
    words = 5 + len(options) // 4
    total = words * 4 + len(body) if total is None else total
    head = struct.pack("!BBHHHBB", 0x40 | words, tos, total & 0xFFFF, ident, fragment, ttl, protocol)
    addresses = source(case) + HERE4
    right = checksum(head + b"\0\0" + addresses + options)
    return head + struct.pack("!H", right) + addresses + options + body


def header6(case, protocol, body, ttl=63, tos=0, length=None):
    length = len(body) if length is None else length
    head = struct.pack("!IHBB", 6 << 28 | tos << 20, length & 0xFFFF, protocol, ttl)
    return head + source(case) + HERE6 + body


def pseudo(case, protocol, length):
    if case.version == 4:
        return source(case) + HERE4 + struct.pack("!HH", protocol, length)
    return source(case) + HERE6 + struct.pack("!II", length, protocol)


def udp(case, sport, dport, data, length=None, sum_field=None):
    """`length` as it shall stand there; the checksum is right for what a host takes it to mean."""
    whole = 8 + len(data)
    length = whole if length is None else length
    meant = whole if length == 0 else min(length, whole)
    head = struct.pack("!HHHH", sport, dport, length & 0xFFFF, 0)
    if sum_field is None:
        covered = (head + data)[:meant]
        sum_field = checksum(pseudo(case, 17, meant) + covered) or 0xFFFF
    return head[:6] + struct.pack("!H", sum_field) + data


def tcp(case, sport, dport, flags, data):
    head = struct.pack("!HHIIBBHHH", sport, dport, 1000, 1, 5 << 4, flags, 8192, 0, 0)
    right = checksum(pseudo(case, 6, 20 + len(data)) + head + data)
    case.opens |= flags & OPENING == SYN
    return head[:16] + struct.pack("!H", right) + head[18:] + data


def echo(case, kind, data):
    head = struct.pack("!BBHI", kind, 0, 0, 0x00010001)
    right = checksum((pseudo(case, 58, 8 + len(data)) if case.version == 6 else b"") + head + data)
    return head[:2] + struct.pack("!H", right) + head[4:] + data


# --- IPv6 extension headers, each as (number, what follows its next header) ----------------------


def options6(dice):
    body = dice.choice((
        b"\x01\x04" + bytes(4), b"\x00" * 6, b"\x05\x02\x00\x00\x01\x00", b"\x1e\x04spam",
        b"\x1e\x0c" + b"x" * 12, b"\x01\x00\x01\x00\x01\x00", b"\x5e\x04spam", b"\x01\x09spam",
    ))  # fmt: skip
    return bytes([(len(body) + 2) // 8 - 1]) + body


def routing(dice):
    kind = dice.choice((0, 0, 2, 3, 4, 4, 253))
    left = dice.choice((0, 0, 1)) if kind != 4 else dice.choice((0, 1))
    if kind == 4:
        # RFC 8754 §2: last entry, flags, tag, segments in reverse.
        return bytes([2, 4, left, 0, 0, 0, 0]) + dice.choice((HERE6, THERE6))
    return bytes([2, kind, left, 0, 0, 0, 0]) + HERE6


def extension(dice, kind=None):
    if kind is None:
        kind = dice.choice((60, 60, 60, 43, 43, 44, 51, 135, 139, 0))
    if kind == 43:
        return 43, routing(dice)
    if kind == 44:
        return 44, struct.pack("!BHI", 0, 0, dice.getrandbits(32))
    if kind == 51:
        return 51, bytes([4, 0, 0]) + dice.randbytes(20)
    if kind in (135, 139):
        return kind, b"\x00" + bytes(6)
    return kind, options6(dice)


def chain(headers, last, body):
    """The first header's number, and all bytes behind the fixed header."""
    for kind, rest in reversed(headers):
        body, last = bytes([last]) + rest + body, kind
    return last, body


# --- whole packets -------------------------------------------------------------------------------


def text_data(dice):
    data = bytearray(dice.choice(b"abcxyz") for _ in range(dice.choice((8, 24, 40, 64, 200) * 4 + (1400,))))
    for word, share in ((TEXT, 0.4), (SECRET, 0.15)):
        if dice.random() < share:
            at = dice.randint(0, len(data) - len(word))
            data[at : at + len(word)] = word
    return bytes(data)


def transport(dice, case, data, **datagram):
    """A protocol and its segment."""
    sport = 3000 if dice.random() < 0.05 else 40000
    dport = dice.choice((3000, 4000, 4000, 4001, 5000))
    protocol = 17 if datagram else dice.choices((17, 6, 253, 1), (70, 14, 8, 8))[0]
    if protocol == 17:
        return 17, udp(case, sport, dport, data, **datagram)
    if protocol == 6:
        return 6, tcp(case, sport, dport, dice.choice((SYN, ACK, ACK | SYN, 0x18, SYN | 1, SYN | 4, 0)), data)
    if protocol == 1:
        kinds, number = ((8, 8, 0, 5), 1) if case.version == 4 else ((128, 128, 129, 137), 58)
        return number, echo(case, dice.choice(kinds), data)
    return 253, data


def datagram_faults(dice, case, data):
    """A UDP length or checksum that is not the usual one."""
    whole = 8 + len(data)
    length = dice.choice((None, 0, 0, 0, 7, 8, 12, whole - 1, whole - 4, whole + 1, whole + 100, 0xFFFF))
    sum_field = dice.choice((None, None, 0, 0x1234))
    case.what.append(f"UDP length {length}, checksum {sum_field}")
    return {"length": length, "sum_field": sum_field}


def whole(dice, number):
    case = Case(number, dice.choice((4, 6)))
    data = text_data(dice)
    datagram = datagram_faults(dice, case, data) if dice.random() < 0.3 else {}
    protocol, segment = transport(dice, case, data, **datagram)
    header = {"ttl": dice.choice((63,) * 8 + (7, 255, 0)), "tos": dice.choice((0,) * 8 + (46 << 2, 0x03, 0xFF))}
    packet = (whole4 if case.version == 4 else whole6)(dice, case, protocol, segment, header)
    if dice.random() < 0.15:
        case.what.append("trailing bytes")
        packet += dice.choice((b"\0" * 6, TEXT, dice.randbytes(20)))
    case.add(packet, Part(protocol, len(packet)))
    return case


def options4(dice):
    return dice.choice((
        b"\x01" * 4, b"\x00" * 4, b"\x94\x04\x00\x00", b"\x07\x07\x04\x00\x00\x00\x00\x00",
        b"\x44\x08\x05\x00" + bytes(4), b"\x83\x07\x04" + HERE4 + b"\x00", b"\x83\x07\x08" + HERE4 + b"\x00",
        b"\x82\x0b" + bytes(9) + b"\x00", b"\x1e\x04ab", b"\x01" * 40, dice.randbytes(dice.choice((4, 12, 40))),
    ))  # fmt: skip


def whole4(dice, case, protocol, segment, header):
    fault = dice.choices(
        ("none", "options", "total length", "header length", "checksum", "bits", "version"),
        (50, 20, 12, 6, 4, 12, 2),
    )[0]
    case.what.append(f"IPv4: {fault}")
    if fault == "options":
        header["options"] = options4(dice)
    elif fault == "total length":
        right = 20 + len(segment)
        header["total"] = dice.choice((right - 1, right - 8, right + 8, 28, 20, 19, 0, 0xFFFF))
    elif fault == "bits":
        header["fragment"] = dice.choice((0x4000, 0x8000, 0xC000, MORE, MORE | 0x4000))
    packet = bytearray(header4(case, protocol, segment, **header))
    if fault in ("header length", "version"):
        firsts = (0x40, 0x44, 0x46, 0x47, 0x4F) if fault == "header length" else (0x65, 0x05, 0x55)
        packet[0] = dice.choice(firsts)
        words = (packet[0] & 15) * 4
        packet[10:12] = b"\0\0"
        packet[10:12] = struct.pack("!H", checksum(bytes(packet[: max(20, words)])))
    elif fault == "checksum":
        packet[10] ^= 0x55
    return bytes(packet)


def whole6(dice, case, protocol, segment, header):
    fault = dice.choices(
        ("none", "chain", "long chain", "atomic", "two fragment headers", "length", "jumbo"),
        (40, 30, 4, 8, 6, 10, 6),
    )[0]
    headers = []
    if fault == "chain":
        headers = [extension(dice, 0)] if dice.random() < 0.3 else []
        headers += [extension(dice) for _ in range(dice.randint(0, 4))]
    elif fault == "long chain":
        headers = [extension(dice, 60) for _ in range(dice.randint(7, 11))]
    elif fault == "atomic":
        headers = [extension(dice, 44)]
    elif fault == "two fragment headers":
        headers = [extension(dice, 44), *([extension(dice, 60)] * dice.randint(0, 1)), extension(dice, 44)]
    elif fault == "jumbo":
        option = dice.choice((b"\xc2\x04\x00\x01\x00\x10", b"\xc2\x04\x00\x00\x00\x40", b"\x01\x04" + bytes(4)))
        headers = [(0, b"\0" + option)]
        header["length"] = dice.choice((0, 0, 0, None))
    case.what.append(f"IPv6: {fault} {[kind for kind, _ in headers]}")
    first, body = chain(headers, protocol, segment)
    if fault == "length":
        header["length"] = dice.choice((0, len(body) - 1, len(body) - 8, len(body) + 8, 8, 7, 0xFFFF))
    return header6(case, first, body, **header)


# --- from the host -------------------------------------------------------------------------------


def asked(dice, case):
    """Puts before a case what the host sends first, and notes what would be an answer to it."""
    what = dice.choice(
        ("datagram", "datagram", "SYN", "ping", "other port", "first fragment", "later fragment")
    )
    case.what.append(f"outwards: {what}")
    data, fragment = b"hello world, here", 0
    if what == "SYN":
        protocol, case.answers = 6, (6, 40000, 4000)
        data = struct.pack("!HHIIBBHHH", 4000, 40000, 1, 0, 5 << 4, SYN, 8192, 0, 0)
    elif what == "ping":
        protocol, kind = (1, 8) if case.version == 4 else (58, 128)
        case.answers = (protocol, 0 if kind == 8 else 129)
        data = struct.pack("!BBHI", kind, 0, 0, 0x00010001) + data
    else:
        protocol, sport = 17, 4001 if what == "other port" else 4000
        data = struct.pack("!HHHH", sport, 40000, 8 + len(data), 0) + data
        fragment = {"first fragment": MORE, "later fragment": 2}.get(what, 0)
        case.answers = () if fragment else (17, 40000, sport)
    if case.version == 4:
        packet = bytearray(header4(case, protocol, data, fragment=fragment))
        packet[12:20] = packet[16:20] + packet[12:16]
    else:
        if fragment:
            rest = struct.pack("!BHI", 0, 1 if fragment == MORE else 16, 7)
            protocol, data = chain([(44, rest)], protocol, data)
        packet = bytearray(header6(case, protocol, data))
        packet[8:40] = packet[24:40] + packet[8:24]
    case.packets.insert(0, bytes(packet))
    case.parts.insert(0, Part(protocol, 0, reaches=False, outwards=True))
