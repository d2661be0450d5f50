"""Packets as GWLB sends them, byte by byte, and how to take apart what comes back."""

import itertools
import socket
import struct
from dataclasses import dataclass

GENEVE_PORT = 6081
ENDPOINT = 0x0123456789ABCDEF0  # printed as vpce-0123456789abcdef0
ENDPOINT_NAME = "vpce-0123456789abcdef0"
GATEWAY = "192.168.20.10"
APPLIANCE = "192.168.20.5"
A4, B4 = "192.168.1.10", "192.168.2.10"
A6, B6 = "fd00:1::10", "fd00:2::10"

_ports = itertools.cycle(range(20000, 60000))


def next_port():
    """An outer source port that no packet of the last 40,000 had, so that replies can be told apart."""
    return next(_ports)


def checksum(data):
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def pseudo_header(source, destination, protocol, length):
    if ":" in source:
        family, layout = socket.AF_INET6, "!16s16sI3xB"
        return struct.pack(
            layout,
            socket.inet_pton(family, source),
            socket.inet_pton(family, destination),
            length,
            protocol,
        )
    return struct.pack(
        "!4s4sBBH", socket.inet_aton(source), socket.inet_aton(destination), 0, protocol, length
    )


# --- inner packets -------------------------------------------------------------------------------


def ipv4(protocol, payload, source=B4, destination=A4, ttl=63, ident=1, fragment=0, options=b""):
    """`fragment` is the whole 16-bit field: flags and offset."""
    words = 5 + len(options) // 4
    length = words * 4 + len(payload)
    addresses = socket.inet_aton(source) + socket.inet_aton(destination)
    head = struct.pack("!BBHHHBB", 0x40 | words, 0, length, ident, fragment, ttl, protocol)
    total = checksum(head + b"\0\0" + addresses + options)
    return head + struct.pack("!H", total) + addresses + options + payload


def ipv6(next_header, payload, source=B6, destination=A6, hops=63):
    head = struct.pack("!IHBB", 6 << 28, len(payload), next_header, hops)
    return (
        head
        + socket.inet_pton(socket.AF_INET6, source)
        + socket.inet_pton(socket.AF_INET6, destination)
        + payload
    )


def udp_segment(data, sport, dport, source, destination, sum_field=None):
    """UDP with a right checksum, or with `sum_field` as it is given."""
    length = 8 + len(data)
    head = struct.pack("!HHHH", sport, dport, length, 0)
    if sum_field is None:
        sum_field = checksum(pseudo_header(source, destination, 17, length) + head + data) or 0xFFFF
    return head[:6] + struct.pack("!H", sum_field) + data


def udp4(data, sport=40000, dport=5000, source=B4, destination=A4, sum_field=None, **header):
    segment = udp_segment(data, sport, dport, source, destination, sum_field)
    return ipv4(17, segment, source, destination, **header)


def udp6(data, sport=40000, dport=5000, source=B6, destination=A6, sum_field=None):
    segment = udp_segment(data, sport, dport, source, destination, sum_field)
    return ipv6(17, segment, source, destination)


def tcp4(data, sport=40000, dport=443, flags=0x18, options=b"", sequence=1000):
    words = 5 + len(options) // 4
    head = struct.pack("!HHIIBBHHH", sport, dport, sequence, 1, words << 4, flags, 8192, 0, 0)
    segment = head + options + data
    total = checksum(pseudo_header(B4, A4, 6, len(segment)) + segment)
    return ipv4(6, segment[:16] + struct.pack("!H", total) + segment[18:])


def icmp4(kind, code=0, rest=0, data=b""):
    """`rest` is the second header word: identifier and sequence, or unused and MTU."""
    body = struct.pack("!BBHI", kind, code, 0, rest) + data
    return ipv4(1, body[:2] + struct.pack("!H", checksum(body)) + body[4:])


def echo4(sequence, kind=8, identifier=77, data=b"abcdefgh" * 7):
    return icmp4(kind, rest=identifier << 16 | sequence, data=data)


def icmp6(kind, code=0, rest=0, data=b""):
    body = struct.pack("!BBHI", kind, code, 0, rest) + data
    total = checksum(pseudo_header(B6, A6, 58, len(body)) + body)
    return ipv6(58, body[:2] + struct.pack("!H", total) + body[4:])


def transport_is_valid(inner):
    """Whether the UDP or TCP checksum of an inner packet without extension headers is right."""
    if inner[0] >> 4 == 4:
        offset, protocol = (inner[0] & 15) * 4, inner[9]
        source, destination = socket.inet_ntoa(inner[12:16]), socket.inet_ntoa(inner[16:20])
    else:
        offset, protocol = 40, inner[6]
        source = socket.inet_ntop(socket.AF_INET6, inner[8:24])
        destination = socket.inet_ntop(socket.AF_INET6, inner[24:40])
    segment = inner[offset:]
    return checksum(pseudo_header(source, destination, protocol, len(segment)) + segment) == 0


# --- Geneve --------------------------------------------------------------------------------------


def option(kind, data, klass=0x0108):
    assert len(data) % 4 == 0
    return struct.pack("!HBB", klass, kind, len(data) // 4) + data


def endpoint_option(endpoint=ENDPOINT):
    return option(1, struct.pack("!Q", endpoint))


def attachment_option(attachment=0):
    return option(2, struct.pack("!Q", attachment))


def cookie_option(cookie=0x98EF1B00):
    return option(3, struct.pack("!I", cookie))


def aws_options(endpoint=ENDPOINT, cookie=0x98EF1B00):
    return endpoint_option(endpoint) + attachment_option() + cookie_option(cookie)


def geneve(inner, options=None, version=0, flags=0, protocol=None, vni=0, reserved=0, words=None):
    """`flags` is the second byte (O 0x80, C 0x40, six reserved bits); `words` overrides Opt Len."""
    options = aws_options() if options is None else options
    if protocol is None:
        protocol = 0x86DD if inner[:1] and inner[0] >> 4 == 6 else 0x0800
    words = len(options) // 4 if words is None else words
    head = struct.pack("!BBHI", version << 6 | words, flags, protocol, vni << 8 | reserved)
    return head + options + inner


# --- the outer datagram --------------------------------------------------------------------------


def outer(
    payload,
    sport=None,
    dport=GENEVE_PORT,
    source=GATEWAY,
    destination=APPLIANCE,
    sum_field=None,
    udp_length=None,
    total_length=None,
    ttl=255,
    tos=0,
    ident=0,
    fragment=0,
    options=b"",
):
    """An outer IPv4 UDP datagram; what is not given is right."""
    sport = next_port() if sport is None else sport
    length = 8 + len(payload) if udp_length is None else udp_length
    segment = udp_segment(payload, sport, dport, source, destination, sum_field)
    if udp_length is not None:
        segment = segment[:4] + struct.pack("!H", length) + segment[6:]
    return outer_ip(
        segment, source, destination, 17, ttl, tos, ident, fragment, options, total_length
    )


def outer_ip(
    segment,
    source=GATEWAY,
    destination=APPLIANCE,
    protocol=17,
    ttl=255,
    tos=0,
    ident=0,
    fragment=0,
    options=b"",
    total_length=None,
):
    words = 5 + len(options) // 4
    length = words * 4 + len(segment) if total_length is None else total_length
    addresses = socket.inet_aton(source) + socket.inet_aton(destination)
    head = struct.pack("!BBHHHBB", 0x40 | words, tos, length, ident, fragment, ttl, protocol)
    total = checksum(head + b"\0\0" + addresses + options)
    return head + struct.pack("!H", total) + addresses + options + segment


def fragments(packet, size=1480):
    """The outer fragments of an IPv4 packet without options; `size` is a multiple of 8."""
    source, destination = socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20])
    ident = int.from_bytes(packet[4:6], "big")
    assert ident, "fragments need an identification"
    body = packet[20:]
    for start in range(0, len(body), size):
        more = 0x2000 if start + size < len(body) else 0
        piece = body[start : start + size]
        yield outer_ip(
            piece, source, destination, ident=ident, fragment=more | start // 8, ttl=packet[8]
        )


@dataclass
class Outer:
    """An outer datagram, taken apart."""

    packet: bytes
    source: str
    destination: str
    tos: int
    ident: int
    fragment: int
    ttl: int
    options: bytes
    sport: int
    dport: int
    udp_length: int
    udp_checksum: int
    payload: bytes

    @classmethod
    def parse(cls, packet):
        size = (packet[0] & 15) * 4
        length = int.from_bytes(packet[2:4], "big")
        packet = packet[:length]
        sport, dport, udp_length, udp_checksum = struct.unpack_from("!HHHH", packet, size)
        return cls(
            packet=packet,
            source=socket.inet_ntoa(packet[12:16]),
            destination=socket.inet_ntoa(packet[16:20]),
            tos=packet[1],
            ident=int.from_bytes(packet[4:6], "big"),
            fragment=int.from_bytes(packet[6:8], "big"),
            ttl=packet[8],
            options=packet[20:size],
            sport=sport,
            dport=dport,
            udp_length=udp_length,
            udp_checksum=udp_checksum,
            payload=packet[size + 8 :],
        )

    @property
    def header_is_valid(self):
        return checksum(self.packet[: (self.packet[0] & 15) * 4]) == 0

    @property
    def udp_is_valid(self):
        """Right and not zero."""
        segment = self.packet[(self.packet[0] & 15) * 4 :]
        head = pseudo_header(self.source, self.destination, 17, len(segment))
        return self.udp_checksum != 0 and checksum(head + segment) == 0

    @property
    def inner(self):
        return self.payload[8 + (self.payload[0] & 0x3F) * 4 :]
