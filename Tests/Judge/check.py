"""Holds finished records against scapy once more, from their bytes alone.

`shapes` and `policy` made the records from layers; here each is taken apart again, so that a
mistake there would have to be made here a second time to go unnoticed.
"""

from collections import Counter

from scapy.layers.inet import IP, in4_chksum
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, _IPv6ExtHdr, in6_chksum
from scapy.utils import checksum

REASONS = (
    "outer_malformed",
    "outer_checksum",
    "outer_ttl",
    "geneve_malformed",
    "geneve_version",
    "geneve_control",
    "geneve_critical_option",
    "geneve_protocol",
    "aws_options",
    "inner_malformed",
    "inner_header_checksum",
    "rule",
    "too_big",
)
# Where the checksum stands in a transport header, by IP version and protocol number.
CHECKSUM_AT = {(4, 1): 2, (4, 6): 16, (4, 17): 6, (6, 6): 16, (6, 17): 6, (6, 58): 2}
WRONGS = {"outer_udp", "inner_header", "inner_transport"}


class Faulty(AssertionError):
    """A record that contradicts itself."""


def demand(condition, what):
    if not condition:
        raise Faulty(what)


def check(records):
    names = Counter(record["name"] for record in records)
    twice = [name for name, count in names.items() if count > 1]
    demand(not twice, f"names that are not unique: {twice}")
    for record in records:
        try:
            check_record(record)
        except Faulty as fault:
            raise Faulty(f"{record['name']}: {fault}") from None


def check_record(record):
    demand(set(record["wrong"]) <= WRONGS, "unknown kind of wrong checksum")
    if record["verdict"] == "drop":
        demand(record["reason"] in REASONS, "unknown reason")
        demand(record["output"] is None, "an answer to a dropped packet")
        return
    demand(record["verdict"] == "forward" and record["reason"] is None, "unknown verdict")
    received, answer = bytes.fromhex(record["input"]), bytes.fromhex(record["output"])
    check_outer(Parts(received), Parts(answer), record["wrong"])
    check_inner(Parts(received), Parts(answer), record["wrong"])


class Parts:
    """A packet cut up by its lengths alone."""

    def __init__(self, packet):
        self.outer = packet[: (packet[0] & 15) * 4]
        datagram = packet[len(self.outer) :]
        length = int.from_bytes(datagram[4:6], "big")
        demand(8 <= length <= len(datagram), "outer UDP length")
        self.datagram, self.beyond = datagram[:length], datagram[length:]
        geneve = 8 + 8 + (datagram[8] & 63) * 4
        self.geneve = self.datagram[8:geneve]
        self.inside = self.datagram[geneve:]
        # The inner packet by its own length, and what trails it.
        is_ipv4 = self.inside[0] >> 4 == 4
        end = int.from_bytes(self.inside[2:4] if is_ipv4 else self.inside[4:6], "big")
        end += 0 if is_ipv4 else 40
        demand(end <= len(self.inside), "inner length")
        self.inner, self.trailing = self.inside[:end], self.inside[end:]


def check_outer(received, answer, wrong):
    """Addresses swapped, one hop less, lengths and checksums right, everything else kept."""
    demand(answer.outer[12:16] == received.outer[16:20], "source address")
    demand(answer.outer[16:20] == received.outer[12:16], "destination address")
    length = len(answer.outer) + len(answer.datagram) + len(answer.beyond)
    demand(int.from_bytes(answer.outer[2:4], "big") == length, "outer total length")
    demand(checksum(answer.outer) == 0, "outer header checksum")
    demand(answer.outer[8] == received.outer[8] - 1, "outer time to live")
    for start, end in ((0, 2), (4, 8), (9, 10), (20, 60)):
        demand(answer.outer[start:end] == received.outer[start:end], "outer IP fields")
    demand(answer.datagram[:4] == received.datagram[:4], "outer ports")
    demand(answer.geneve == received.geneve, "Geneve header")
    before, after = (error_of(4, IP(p.outer), 17, p.datagram) for p in (received, answer))
    demand(before == after, "outer UDP checksum is not wrong by the same difference")
    demand(after in (0, None) or "outer_udp" in wrong, "outer UDP checksum")


def check_inner(received, answer, wrong):
    if answer.inside == received.inside:
        demand(answer.beyond == received.beyond, "bytes behind the outer datagram")
    else:
        check_rewrite(received, answer)
    for parts in (received, answer):
        if parts.inner[0] >> 4 == 4:
            is_right = checksum(parts.inner[: (parts.inner[0] & 15) * 4]) == 0
            demand(is_right != ("inner_header" in wrong), "inner header checksum")
    before, after = transport_error(received.inner), transport_error(answer.inner)
    demand(before == after, "inner checksum is not wrong by the same difference")
    demand(after in (0, None) or "inner_transport" in wrong, "inner checksum")


def check_rewrite(received, answer):
    """Nothing but the text, lengths and checksums differs, and nothing trails."""
    demand(not answer.trailing and not answer.beyond, "bytes trail a rewritten packet")
    demand(len(answer.inner) <= 8500, "rewritten beyond the MTU")
    old, new = received.inner, answer.inner
    _, number, start = transport(old)
    demand(number == 17, "rewritten, though not whole UDP")
    text = start + 8
    lengths = [int.from_bytes(packet[start + 4 : start + 6], "big") - 8 for packet in (old, new)]
    demand(text + lengths[1] <= len(new), "inner UDP length")
    before, after = old[text : text + lengths[0]], new[text : text + lengths[1]]
    demand(b"weakly typed" in before, "rewritten without need")
    demand(after == before.replace(b"weakly typed", b"strongly typed"), "text")
    demand(new[text + lengths[1] :] == old[text + lengths[0] :], "bytes behind the inner datagram")
    kept = ((0, 2), (4, 10), (12, start + 4)) if old[0] >> 4 == 4 else ((0, 4), (6, start + 4))
    for first, end in kept:
        demand(new[first:end] == old[first:end], "inner header fields")


def transport(inner):
    """(the IP header or last extension header, protocol, offset of what follows).

    The protocol of a fragment is None.
    """
    if inner[0] >> 4 == 4:
        network = IP(inner)
        is_fragment = network.frag or network.flags.MF
        return network, None if is_fragment else network.proto, network.ihl * 4
    last = IPv6(inner)
    offset = 40
    while isinstance(last.payload, _IPv6ExtHdr):
        last = last.payload
        if isinstance(last, IPv6ExtHdrFragment):
            if last.offset or last.m:
                return last, None, offset
            offset += 8
        else:
            offset += 8 + inner[offset + 1] * 8
    return last, last.nh, offset


def transport_error(inner):
    """How wrong the transport checksum of a whole inner packet is; None when it has none."""
    network, number, offset = transport(inner)
    return error_of(inner[0] >> 4, network, number, inner[offset:])


def error_of(version, network, number, data):
    """The difference to the checksum that scapy computes, in ones' complement: 0 when right."""
    at = CHECKSUM_AT.get((version, number))
    if at is None or len(data) < max(8, at + 2):
        return None
    if number == 17:
        length = int.from_bytes(data[4:6], "big")
        if not 8 <= length <= len(data):
            return None
        data = data[:length]
    given = int.from_bytes(data[at : at + 2], "big")
    if number == 17 and given == 0:
        return None
    blank = data[:at] + b"\0\0" + data[at + 2 :]
    return (given - right_checksum(version, network, number, blank)) % 0xFFFF


def right_checksum(version, network, number, blank):
    if version == 6:
        return in6_chksum(number, network, blank)
    if number == 1:
        return checksum(blank)
    # scapy takes the length from the header where it stands there, not from the datagram.
    pseudo = IP(src=network.src, dst=network.dst, options=network.options)
    return in4_chksum(number, pseudo, blank)
