"""What comes back for hand-made packets: every byte, every refusal, and never an ICMP."""

import random

import pytest

from conftest import combinations
from packets import (
    APPLIANCE,
    GATEWAY,
    attachment_option,
    aws_options,
    cookie_option,
    endpoint_option,
    fragments,
    geneve,
    next_port,
    option,
    outer,
    outer_ip,
    tcp4,
    udp4,
    udp6,
    udp_segment,
)

pytestmark = pytest.mark.parametrize("combination", combinations([1, 4]), indirect=True, scope="module")

INNER = udp4(b"just passing through")
REWRITTEN = udp4(b"a weakly typed language", dport=3000)
BROADCAST_MAC = b"\xff" * 6
OUTER_OPTIONS = b"\x01\x01\x01\x00"


def check_turned_around(sent_payload, reply, sport):
    """What holds for every backend (docs/backends.md, What comes back)."""
    assert (reply.source, reply.destination) == (APPLIANCE, GATEWAY)
    assert (reply.sport, reply.dport) == (sport, 6081)
    assert reply.payload == sent_payload
    assert reply.udp_length == 8 + len(sent_payload)
    assert reply.header_is_valid
    assert reply.fragment & 0x3FFF == 0


# --- pass-through --------------------------------------------------------------------------------


@pytest.mark.parametrize("inner", [INNER, udp6(b"six"), tcp4(b"data")], ids=["udp4", "udp6", "tcp4"])
def test_pass_through_changes_only_what_the_backend_may(gateway, io, inner):
    payload, sport = geneve(inner), next_port()
    sent = outer(payload, sport=sport, ttl=201, tos=0x28, ident=0x1234, fragment=0x4000)
    reply = gateway.ask(sent)
    check_turned_around(payload, reply, sport)
    assert (reply.ttl, reply.tos) == (200, 0x28)
    assert reply.udp_is_valid
    if io != "udp":
        turned = bytes([*sent[:8], 200, sent[9], *reply.packet[10:12], *sent[16:20], *sent[12:16]])
        assert reply.packet == turned + sent[20:], "only addresses and time to live may change"
    else:
        assert reply.fragment == 0, "udp sends with DF clear"


def test_a_zero_identification_is_filled_or_kept(gateway):
    payload, sport = geneve(INNER), next_port()
    check_turned_around(payload, gateway.ask(outer(payload, sport=sport, ident=0)), sport)


def test_the_second_gateway_address_is_answered(gateway):
    payload = geneve(INNER)
    reply = gateway.ask(outer(payload, source="192.168.20.11"))
    assert (reply.source, reply.destination) == (APPLIANCE, "192.168.20.11")


def test_the_second_own_address_is_answered_from_itself(gateway):
    reply = gateway.ask(outer(geneve(INNER), destination="192.168.20.6"))
    assert (reply.source, reply.destination) == ("192.168.20.6", GATEWAY)


ODD_HEADERS = {
    "vni": geneve(INNER, vni=0xABCDEF),
    "reserved-octet": geneve(INNER, reserved=0x5A),
    "reserved-flags": geneve(INNER, flags=0x3F),
    "other-order": geneve(INNER, cookie_option() + attachment_option() + endpoint_option()),
    "unknown-option": geneve(INNER, option(0x44, b"wxyz", klass=0x0999) + aws_options()),
    "empty-unknown-option": geneve(INNER, aws_options() + option(0x11, b"", klass=0x7777)),
    "aws-class-unknown-type": geneve(INNER, aws_options() + option(0x04, b"new!")),
    "longest-options": geneve(INNER, aws_options() + option(0x10, b"x" * 124, 9) + option(0x11, b"y" * 88, 9)),
}


@pytest.mark.parametrize("payload", ODD_HEADERS.values(), ids=ODD_HEADERS.keys())
def test_odd_but_good_geneve_headers_are_echoed(gateway, drops, payload):
    sport = next_port()
    check_turned_around(payload, gateway.ask(outer(payload, sport=sport)), sport)
    assert drops() == {}


def test_option_reserved_bits_are_echoed(gateway):
    options = bytearray(aws_options())
    options[3] |= 0xE0
    payload, sport = geneve(INNER, bytes(options)), next_port()
    check_turned_around(payload, gateway.ask(outer(payload, sport=sport)), sport)


def test_outer_ip_options(gateway, io):
    payload, sport = geneve(INNER), next_port()
    reply = gateway.ask(outer(payload, sport=sport, options=OUTER_OPTIONS))
    check_turned_around(payload, reply, sport)
    assert reply.options == (b"" if io == "udp" else OUTER_OPTIONS)


# --- outer checksums -----------------------------------------------------------------------------


def test_a_zero_outer_udp_checksum_is_answered(gateway, io):
    payload, sport = geneve(INNER), next_port()
    reply = gateway.ask(outer(payload, sport=sport, sum_field=0))
    check_turned_around(payload, reply, sport)
    if io == "udp":
        assert reply.udp_is_valid, "udp computes it"
    else:
        assert reply.udp_checksum == 0, "the others keep it"


def test_a_zero_outer_udp_checksum_on_a_rewrite(gateway, io):
    reply = gateway.ask(outer(geneve(REWRITTEN), sum_field=0))
    assert b"strongly typed" in reply.inner
    assert reply.udp_is_valid if io == "udp" else reply.udp_checksum == 0


def test_a_wrong_outer_udp_checksum_on_a_pass_through(gateway, io):
    sent = outer(geneve(INNER), sum_field=0x1111)
    if io == "udp":
        gateway.refused(sent)  # by the kernel, before the socket
    else:
        assert gateway.ask(sent).udp_checksum == 0x1111


def test_a_wrong_outer_udp_checksum_on_a_rewrite_is_dropped(gateway, io, drops):
    gateway.refused(outer(geneve(REWRITTEN), sum_field=0x1111))
    assert drops() == ({} if io == "udp" else {"outer_checksum": 1})


# --- refusals ------------------------------------------------------------------------------------

SHORT_ENDPOINT = option(1, b"1234") + attachment_option() + cookie_option()
REFUSED = {
    "critical-option": (geneve(INNER, aws_options() + option(0x80, b"must"), flags=0x40), "geneve_critical_option"),
    "critical-option-of-aws": (geneve(INNER, aws_options() + option(0x85, b""), flags=0x40), "geneve_critical_option"),
    "control-bit": (geneve(INNER, flags=0x80), "geneve_control"),
    "version-1": (geneve(INNER, version=1), "geneve_version"),
    "version-2": (geneve(INNER, version=2), "geneve_version"),
    "version-3": (geneve(INNER, version=3), "geneve_version"),
    "ethernet": (geneve(b"\x02" * 12 + b"\x08\x00" + INNER, protocol=0x6558), "geneve_protocol"),
    "arp": (geneve(INNER, protocol=0x0806), "geneve_protocol"),
    "says-4-is-6": (geneve(udp6(b"six"), protocol=0x0800), "geneve_protocol"),
    "says-6-is-4": (geneve(INNER, protocol=0x86DD), "geneve_protocol"),
    "no-options": (geneve(INNER, b""), "aws_options"),
    "no-endpoint": (geneve(INNER, attachment_option() + cookie_option()), "aws_options"),
    "no-attachment": (geneve(INNER, endpoint_option() + cookie_option()), "aws_options"),
    "no-cookie": (geneve(INNER, endpoint_option() + attachment_option()), "aws_options"),
    "cookie-twice": (geneve(INNER, aws_options() + cookie_option()), "aws_options"),
    "endpoint-twice": (geneve(INNER, endpoint_option() + aws_options()), "aws_options"),
    "short-endpoint": (geneve(INNER, SHORT_ENDPOINT), "aws_options"),
    "other-class": (geneve(INNER, aws_options().replace(b"\x01\x08", b"\x01\x67")), "aws_options"),
    "option-overrun": (geneve(INNER, aws_options()[:-5] + b"\x05" + aws_options()[-4:]), "geneve_malformed"),
    "options-past-the-end": (geneve(b"", aws_options(), words=63, protocol=0x0800), "geneve_malformed"),
    "half-a-header": (geneve(INNER)[:5], "geneve_malformed"),
    "nothing": (b"", "geneve_malformed"),
    "cut-in-the-options": (geneve(INNER)[:30], "geneve_malformed"),
    "no-inner": (geneve(b"", protocol=0x0800), "inner_malformed"),
    "cut-inner-header": (geneve(INNER[:12]), "inner_malformed"),
    "more-length-than-bytes": (geneve(INNER[:-1]), "inner_malformed"),
    "inner-header-length-4": (geneve(b"\x44" + INNER[1:]), "inner_malformed"),
    "inner-header-beyond": (geneve(b"\x4f" + INNER[1:]), "inner_malformed"),
    "cut-inner-6": (geneve(udp6(b"six")[:39]), "inner_malformed"),
}  # fmt: skip


@pytest.mark.parametrize("payload, reason", REFUSED.values(), ids=REFUSED.keys())
def test_refused_with_its_reason(gateway, drops, payload, reason):
    gateway.refused(outer(payload))
    assert drops() == {reason: 1}


def test_every_truncation_is_dropped_or_answered_once(gateway):
    payload = geneve(REWRITTEN)
    for length in range(len(payload)):
        gateway.send(outer(payload[:length]))
    gateway.refused()


# --- fragments -----------------------------------------------------------------------------------


def test_a_datagram_in_outer_fragments(gateway, io):
    """4,000 bytes in three fragments come back whole, the same from every backend."""
    payload, sport = geneve(udp4(bytes(range(250)) * 16)), next_port()
    whole = outer(payload, sport=sport, ident=0x4242)
    reply = gateway.ask(*fragments(whole))
    check_turned_around(payload, reply, sport)
    assert reply.udp_is_valid
    assert reply.fragment == 0
    if io != "udp":
        assert reply.ident == 0x4242


def test_fragments_out_of_order_and_one_missing(gateway):
    whole = outer(geneve(udp4(b"f" * 4000)), ident=0x4243)
    pieces = list(fragments(whole))
    assert len(gateway.exchange(*reversed(pieces), answers=1)) == 1
    # Not without its last one: for that the host's kernel sends a time exceeded, 30 s later.
    lost = list(fragments(outer(geneve(udp4(b"g" * 4000)), ident=0x4244)))
    gateway.refused(*lost[1:])


# --- hostile bytes -------------------------------------------------------------------------------


def test_packets_of_twenty_bytes(gateway):
    gateway.refused(*[outer_ip(b"") for _ in range(10)])


@pytest.mark.parametrize("cut", range(1, 9))
def test_cut_udp_headers(gateway, cut):
    segment = udp_segment(b"", next_port(), 6081, GATEWAY, APPLIANCE)
    gateway.refused(outer_ip(segment[:cut]))


@pytest.mark.parametrize("length", [0, 7, 0xFFFF, 8 + len(geneve(INNER)) + 1])
def test_udp_lengths_that_cannot_be(gateway, length):
    """Too short for a header, or longer than the packet. Zero is what only IPv6 jumbograms have."""
    gateway.refused(outer(geneve(INNER), udp_length=length, sum_field=0))


@pytest.mark.parametrize("length", [8, 9, 16, 20, 48, 60])
def test_udp_lengths_shorter_than_the_packet(gateway, length):
    """What lies beyond the UDP length does not exist, so the Geneve or inner packet is cut."""
    gateway.refused(outer(geneve(INNER), udp_length=length, sum_field=0))


def test_ip_length_shorter_than_the_frame(gateway):
    """Padding below the IP datagram is no payload."""
    payload, sport = geneve(INNER), next_port()
    reply = gateway.ask(outer(payload, sport=sport) + b"\xaa" * 9)
    check_turned_around(payload, reply, sport)


def test_broken_outer_ip_headers(gateway):
    good = outer(geneve(INNER))
    broken = [
        b"\x65" + good[1:],  # version 6
        b"\x44" + good[1:],  # header of 16 bytes
        b"\x4f" + good[1:],  # options that are not there
        good[:10] + b"\xbe\xef" + good[12:],  # header checksum
        outer(geneve(INNER), total_length=19),
        outer(geneve(INNER), total_length=9000),
        good[:12] + b"\xff" * 4 + good[16:],
    ]
    gateway.refused(*broken)


def test_bursts_of_random_bytes(gateway):
    """Each packet comes back at most once, and the appliance lives."""
    chance = random.Random(6081)
    sent = []
    for _ in range(40):
        burst = []
        for _ in range(50):
            payload = bytearray(geneve(INNER) + chance.randbytes(chance.randrange(64)))
            style = chance.randrange(3)
            if style == 0:
                payload = chance.randbytes(chance.randrange(200))
            elif style == 1:
                for _ in range(chance.randrange(1, 6)):
                    payload[chance.randrange(len(payload))] = chance.randrange(256)
            else:
                payload = payload[: chance.randrange(len(payload))]
            burst.append(outer(bytes(payload)))
        sent += burst
        gateway.send(*burst)
    ports = [int.from_bytes(packet[20:22], "big") for packet in sent]
    answers = [reply.sport for reply in gateway.exchange()]
    assert set(answers) <= set(ports)
    assert len(answers) == len(set(answers)), "a packet was answered twice"


@pytest.mark.parametrize(
    "destination, mac",
    [
        ("192.168.20.255", BROADCAST_MAC),
        ("255.255.255.255", BROADCAST_MAC),
        ("224.0.0.1", bytes.fromhex("01005e000001")),
        ("192.168.20.77", None),
        ("192.168.1.10", None),
    ],
)
def test_addressed_to_others_is_not_answered(gateway, destination, mac):
    """Broadcast, multicast, a neighbour's address, another network's."""
    gateway.refused(outer(geneve(INNER), destination=destination), mac=mac)


def test_other_udp_ports_are_left_alone(gateway, lab):
    """UDP to another port of the host reaches who listens there, and is never answered by us."""
    with lab.socket("appliance", ("0.0.0.0", 5353)) as listener:
        gateway.refused(outer(geneve(INNER), dport=5353))
        assert listener.recv(9000) == geneve(INNER)


def test_two_hundred_flows_are_each_answered_once(gateway):
    sent = {}
    for index in range(200):
        port = next_port()
        sent[port] = geneve(udp4(bytes([index]) * 50, sport=1024 + index))
    replies = gateway.exchange(
        *[outer(payload, sport=port) for port, payload in sent.items()], answers=len(sent)
    )
    assert {reply.sport: reply.payload for reply in replies} == sent
    assert len(replies) == len(sent)
