"""What a judged packet is made of, and its bytes as scapy builds them.

Every length and checksum is left to scapy, for the input and, on layers built anew, for the output
that is expected. Nothing here updates a checksum incrementally, as the appliance does.
"""

from dataclasses import dataclass, field, replace

from scapy.contrib.geneve import GENEVE, GeneveOptions
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet, Raw

GENEVE_PORT = 6081
AWS_CLASS = 0x0108
UDP_NUMBER = 17

NUMBERS = {UDP: UDP_NUMBER, TCP: 6, ICMP: 1}
# Where the checksum stands in a transport header.
CHECKSUM_AT = {UDP: 6, TCP: 16, ICMP: 2}

# What a checksum is instead of right: none at all, or wrong by a number of 1 to 0xFFFE.
ZERO = "zero"


def segment(network, transport, payload, flaw=None):
    """A transport header and its payload, summed with the addresses of `network`.

    `flaw` is None, ZERO, or an error that is added to the right checksum. RFC 1624 §3 is linear in
    ones' complement: whatever is changed, a wrong checksum stays wrong by the same difference. So
    the checksum expected after a rewrite is the right one of the new bytes plus the same error.
    """
    whole = bytes(network / transport / Raw(payload))
    data = whole[-(len(transport) + len(payload)) :]
    if flaw is None:
        return data
    at = CHECKSUM_AT[type(transport)]
    right = int.from_bytes(data[at : at + 2], "big")
    # 0xFFFF and 0 are one number; UDP sends it as 0xFFFF (RFC 768), as 0 means no checksum.
    wrong = 0 if flaw == ZERO else (right + flaw) % 0xFFFF or 0xFFFF
    return data[:at] + wrong.to_bytes(2, "big") + data[at + 2 :]


def aws_option(kind, data, reserved=0):
    return option(AWS_CLASS, kind, data, reserved)


def option(classid, kind, data=b"", reserved=0):
    # scapy loses the reserved bits when it is left to fill in the length.
    return GeneveOptions(
        classid=classid, type=kind, reserved=reserved, length=len(data) // 4, data=data
    )


def aws_options(endpoint=0x2356DE92D389839C, attachment=0, cookie=0x98EF1B00):
    return [
        aws_option(1, endpoint.to_bytes(8, "big")),
        aws_option(2, attachment.to_bytes(8, "big")),
        aws_option(3, cookie.to_bytes(4, "big")),
    ]


@dataclass(frozen=True)
class Facts:
    """What the policy may know of an inner packet."""

    version: int
    protocol: int
    ports: tuple = ()
    # ICMP: type and sequence number.
    echo: tuple = ()
    payload: bytes = b""
    # "none", "first" or "later".
    fragment: str = "none"


@dataclass(frozen=True)
class Inner:
    """An inner packet that can be built with another payload: whole UDP, TCP or ICMP."""

    # IP, or IPv6 with its extension headers; the number of what follows is given.
    network: Packet
    transport: Packet
    payload: bytes = b""
    # Of the transport checksum; see `segment`.
    flaw: object = None
    # Added to the IPv4 header checksum.
    header_error: int = 0
    # Inside the IP packet, behind the end of the UDP datagram.
    beyond: bytes = b""
    # Behind the end of the IP packet.
    trailing: bytes = b""

    @property
    def facts(self):
        transport = self.transport
        ports = (transport.sport, transport.dport) if type(transport) in (UDP, TCP) else ()
        echo = (transport.type, transport.seq) if type(transport) is ICMP else ()
        return Facts(self.network.version, NUMBERS[type(transport)], ports, echo, self.payload)

    def encode(self):
        """The inner IP packet, without what trails it."""
        data = segment(self.network, self.transport, self.payload, self.flaw)
        packet = bytes(self.network / Raw(data + self.beyond))
        if not self.header_error:
            return packet
        right = int.from_bytes(packet[10:12], "big")
        return packet[:10] + ((right + self.header_error) % 0xFFFF).to_bytes(2, "big") + packet[12:]

    def with_payload(self, payload):
        """As after a rewrite: nothing trails any more."""
        return replace(self, payload=payload, trailing=b"")

    @property
    def wrongs(self):
        names = []
        if self.flaw not in (None, ZERO):
            names.append("inner_transport")
        if self.header_error:
            names.append("inner_header")
        return names


@dataclass(frozen=True)
class Opaque:
    """An inner packet that nothing may change: any other protocol, a fragment, a lying header."""

    data: bytes
    facts: Facts
    trailing: bytes = b""
    wrongs: tuple = ()

    def encode(self):
        return self.data


def opaque(packet, **facts):
    """From a scapy packet whose outermost header is IP or IPv6."""
    number = packet.proto if isinstance(packet, IP) else packet.nh
    return Opaque(bytes(packet), Facts(packet.version, number, **facts))


@dataclass(frozen=True)
class Outer:
    """What GWLB puts around an inner packet, and what it might one day."""

    source: str = "10.77.0.1"
    destination: str = "10.77.0.2"
    source_port: int = 25322
    # Fields of IP, UDP and GENEVE that differ from GWLB's.
    ip: dict = field(default_factory=dict)
    udp: dict = field(default_factory=dict)
    geneve: dict = field(default_factory=dict)
    options: list = field(default_factory=aws_options)
    # Of the UDP checksum; see `segment`.
    flaw: object = None
    # Inside the outer IP packet, behind the end of the UDP datagram.
    beyond: bytes = b""

    def turned_around(self):
        hops = self.ip.get("ttl", 255) - 1
        return replace(
            self, source=self.destination, destination=self.source, ip={**self.ip, "ttl": hops}
        )

    def encode(self, inner, version=None):
        """The whole outer packet around `inner` (bytes)."""
        is_ipv6 = (version or inner[0] >> 4) == 6
        fields = {"proto": 0x86DD if is_ipv6 else 0x0800, "options": self.options} | self.geneve
        network = IP(
            **({"src": self.source, "dst": self.destination, "ttl": 255, "id": 0} | self.ip),
            proto=UDP_NUMBER,
        )
        transport = UDP(sport=self.source_port, dport=GENEVE_PORT, **self.udp)
        data = segment(network, transport, bytes(GENEVE(**fields)) + inner, self.flaw)
        return bytes(network / Raw(data + self.beyond))

    @property
    def wrongs(self):
        return [] if self.flaw in (None, ZERO) else ["outer_udp"]


def ipv6(source, destination, number, *extensions, **fields):
    """IPv6 with extension headers, then `number`. Each is (its own number, a scapy layer)."""
    numbers = [own for own, _ in extensions] + [number]
    packet = IPv6(src=source, dst=destination, nh=numbers[0], **fields)
    for (_, extension), following in zip(extensions, numbers[1:], strict=True):
        layer = extension.copy()
        layer.nh = following
        packet = packet / layer
    return packet
