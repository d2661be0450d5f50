"""The variety of judged packets: outer headers, addresses, ports, texts. One seed, one outcome."""

import random

from scapy.layers.inet import IP, UDP, IPOption, IPOption_NOP, IPOption_RR
from scapy.layers.inet6 import (
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
    RouterAlert,
)

from policy import CHAT_PORT, FIND, FORBIDDEN
from shapes import ZERO, Inner, Outer, aws_options, ipv6, option

# What the rules look for, and where.
TROUBLE = FIND + b", " + FORBIDDEN
CHAT = UDP(sport=CHAT_PORT, dport=CHAT_PORT)

ROUTER_ALERT = IPOption(b"\x94\x04\x00\x00")
# Fills a header up to 60 bytes.
RECORD_ROUTE = IPOption_RR(pointer=4, routers=["0.0.0.0"] * 9)
HOP_BY_HOP = (0, IPv6ExtHdrHopByHop(options=[RouterAlert(value=0)]))
DESTINATION = (60, IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 12)]))
# Segments left: the checksum counts the last address instead of the header's (RFC 8200 §8.1).
ROUTING = (43, IPv6ExtHdrRouting(addresses=["fd00:9::1", "fd00:9::2"], segleft=1))
ROUTED = (43, IPv6ExtHdrRouting(addresses=["fd00:9::1"], segleft=0))


def fragment_header(identification, offset=0, more=0):
    return (44, IPv6ExtHdrFragment(offset=offset, m=more, id=identification))


class Dice:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.flow = 0

    def pick(self, *choices):
        return self.random.choice(choices)

    def bytes(self, count):
        return self.random.randbytes(count)

    def text(self, count):
        """Bytes that contain nothing that a rule looks for."""
        return bytes(self.random.choice(b"abcdefgh \n\0\xff") for _ in range(count))

    def error(self):
        """How much a wrong checksum is off."""
        return self.random.randrange(1, 0xFFFF)

    def number(self):
        """A new one each time: for flows, and for the ids of fragments."""
        self.flow += 1
        return self.flow

    # ---- Outer headers.

    def outer(self, **changes):
        fields = {
            "source": f"10.77.{self.random.randrange(256)}.{self.random.randrange(1, 255)}",
            "destination": "10.77.0.2",
            "source_port": self.random.randrange(1024, 65536),
            "ip": self.outer_ip(),
            "geneve": self.pick({}, {}, {"reserved": 0x2A, "reserved2": 0x99}, {"vni": 0xABCDEF}),
            "options": self.geneve_options(),
            "flaw": self.pick(None, None, ZERO),
        }
        return Outer(**(fields | changes))

    def outer_ip(self):
        fields = {"ttl": self.pick(255, 255, 254, 64, 2)}
        if self.random.random() < 0.5:
            fields["tos"] = self.random.randrange(256)
        if self.random.random() < 0.5:
            fields["id"] = self.random.randrange(65536)
        if self.random.random() < 0.5:
            fields["flags"] = "DF"
        options = self.pick(
            None,
            None,
            None,
            [IPOption_NOP(), IPOption_NOP()],
            [ROUTER_ALERT],
            [RECORD_ROUTE],
        )
        return fields if options is None else fields | {"options": options}

    def geneve_options(self):
        """AWS's three, sometimes in another order or among others that nobody knows."""
        options = aws_options(
            self.pick(0x2356DE92D389839C, self.random.getrandbits(64)),
            self.pick(0, 0, self.random.getrandbits(64)),
            self.random.getrandbits(32),
        )
        if self.random.random() < 0.3:
            self.random.shuffle(options)
        for _ in range(self.pick(0, 0, 0, 1, 2)):
            options.insert(self.random.randrange(len(options) + 1), self.unknown_option())
        return options

    def unknown_option(self):
        """Not critical: the top bit of the type is clear."""
        classid = self.pick(0x0000, 0x0100, 0x0107, 0x0109, 0xFFFF)
        data = self.bytes(4 * self.pick(0, 1, 2, 3, 10))
        return option(classid, self.random.randrange(128), data, self.random.randrange(8))

    # ---- Inner headers. Every call makes new addresses, and so a new flow.

    def addresses4(self):
        n = self.number()
        return {"src": f"192.168.{n >> 8 & 255}.{n & 255}", "dst": "172.16.2.10"}

    def ipv4(self, number, options=None, **fields):
        fields = {"ttl": self.pick(64, 63, 1, 255), "id": self.random.randrange(65536)} | fields
        return IP(**self.addresses4(), proto=number, options=options or [], **fields)

    def ipv6(self, number, *extensions, **fields):
        source = f"fd00:1::{self.number():x}"
        fields = {"hlim": self.pick(64, 63, 255), "fl": self.random.getrandbits(20)} | fields
        return ipv6(source, "fd00:2::10", number, *extensions, **fields)

    def networks(self, number):
        """(name, IP header for this protocol), of every kind."""
        atomic = fragment_header(self.number())
        five = (HOP_BY_HOP, DESTINATION, ROUTED, atomic, DESTINATION)
        return [
            ("IPv4", self.ipv4(number)),
            ("IPv4 DF", self.ipv4(number, flags="DF", tos=0xB8)),
            ("IPv4 options", self.ipv4(number, [ROUTER_ALERT, IPOption_NOP()])),
            ("IPv4 60-byte header", self.ipv4(number, [RECORD_ROUTE])),
            ("IPv6", self.ipv6(number)),
            ("IPv6 hop-by-hop", self.ipv6(number, HOP_BY_HOP)),
            ("IPv6 destination options", self.ipv6(number, DESTINATION)),
            ("IPv6 routing", self.ipv6(number, ROUTING)),
            ("IPv6 atomic fragment", self.ipv6(number, atomic)),
            ("IPv6 five headers", self.ipv6(number, *five)),
            ("IPv6 eight headers", self.ipv6(number, HOP_BY_HOP, *[DESTINATION] * 7)),
        ]

    def udp_flaw(self, network):
        """IPv6 has no UDP without a checksum (RFC 8200 §8.1)."""
        choices = [None, None, self.error()] + [ZERO] * (network.version == 4)
        return self.pick(*choices)

    def chat_ports(self):
        """Port 3000 on either side, or on both."""
        other = self.random.randrange(1024, 65536)
        return self.pick((CHAT_PORT, other), (other, CHAT_PORT), (CHAT_PORT, CHAT_PORT))

    def chat(self, network, payload, **changes):
        """UDP that the rules look into."""
        source, destination = self.chat_ports()
        return Inner(network, UDP(sport=source, dport=destination), payload, **changes)
