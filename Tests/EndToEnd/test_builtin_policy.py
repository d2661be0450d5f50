"""The built-in policy on a running appliance: what it drops and rewrites, and that every other kind
of traffic passes as it is."""

import signal
import struct
import time

import pytest

from conftest import combinations
from packets import (
    A4,
    A6,
    B4,
    B6,
    checksum,
    echo4,
    geneve,
    icmp4,
    icmp6,
    ipv4,
    ipv6,
    outer,
    outer_ip,
    pseudo_header,
    tcp4,
    transport_is_valid,
    udp4,
    udp6,
    udp_segment,
)

pytestmark = pytest.mark.parametrize("combination", combinations([2]), indirect=True, scope="module")

DROP = b"please drop me now"
WEAK = b"weakly typed"
STRONG = b"strongly typed"


def check_verbatim(gateway, inner):
    assert gateway.pass_inner(inner) == inner


def check_dropped_by_rule(gateway, drops, inner):
    gateway.refused(outer(geneve(inner)))
    assert drops() == {"rule": 1}


# --- chat on port 3000 ---------------------------------------------------------------------------


@pytest.mark.parametrize("sum_field", [None, 0, 0x1234], ids=["right", "zero", "wrong"])
@pytest.mark.parametrize("dport", [3000, 3001])
def test_udp_without_a_match_is_verbatim_whatever_its_checksum(gateway, dport, sum_field):
    check_verbatim(gateway, udp4(b"nothing to see", dport=dport, sum_field=sum_field))


def test_an_empty_payload_is_verbatim(gateway):
    check_verbatim(gateway, udp4(b"", dport=3000))


@pytest.mark.parametrize("ports", [(40000, 3000), (3000, 40000)], ids=["to", "from"])
def test_drop_me_is_dropped_in_both_directions(gateway, drops, ports):
    check_dropped_by_rule(gateway, drops, udp4(DROP, *ports))


def test_drop_wins_over_replace(gateway, drops):
    check_dropped_by_rule(gateway, drops, udp4(WEAK + DROP, dport=3000))


@pytest.mark.parametrize(
    "inner",
    [
        udp4(b"DROP ME Weakly Typed", dport=3000),
        tcp4(DROP + WEAK, dport=3000),
        udp4(DROP + WEAK, dport=3001),
        udp4(DROP + WEAK, dport=30000),
    ],
    ids=["other-case", "tcp", "other-port", "prefix-of-port"],
)
def test_what_the_rules_do_not_mean_is_verbatim(gateway, inner):
    check_verbatim(gateway, inner)


@pytest.mark.parametrize("build, source, destination", [(udp4, B4, A4), (udp6, B6, A6)], ids=["4", "6"])
@pytest.mark.parametrize("sum_field", [None, 0xFFFF], ids=["outer-sum", "outer-sum-zero"])
def test_weakly_becomes_strongly(gateway, build, source, destination, sum_field):
    """Every occurrence; the result is the packet that a host would have sent."""
    text = b"weakly typed, not weakly  typed but weakly typedweakly typed"
    sent = outer(geneve(build(text, dport=3000)), sum_field=None if sum_field is None else 0)
    reply = gateway.ask(sent)
    expected = build(text.replace(WEAK, STRONG), dport=3000)
    assert reply.inner == expected
    assert transport_is_valid(reply.inner)
    assert reply.udp_length == 8 + len(reply.payload)
    assert reply.udp_is_valid or reply.udp_checksum == 0
    if sum_field is None:
        assert reply.udp_is_valid, "the outer checksum is stale"


def test_a_zero_inner_checksum_stays_zero_on_a_rewrite(gateway):
    inner = gateway.pass_inner(udp4(WEAK, dport=3000, sum_field=0))
    assert inner == udp4(STRONG, dport=3000, sum_field=0)


def test_a_wrong_inner_checksum_stays_wrong_on_a_rewrite(gateway):
    """Broken data is not made to look right."""
    good = udp4(WEAK, dport=3000)
    wrong = int.from_bytes(good[26:28], "big") ^ 0x0F0F
    assert not transport_is_valid(gateway.pass_inner(udp4(WEAK, dport=3000, sum_field=wrong)))


def test_ipv6_drop_me_is_dropped(gateway, drops):
    check_dropped_by_rule(gateway, drops, udp6(DROP, dport=3000))


def test_ipv6_destination_options_do_not_hide_the_payload(gateway, drops):
    """Rules must not end at the first extension header."""
    segment = udp_segment(DROP, 40000, 3000, B6, A6)
    options = struct.pack("!BBBB4x", 17, 0, 1, 4)
    check_dropped_by_rule(gateway, drops, ipv6(60, options + segment))


def test_ipv4_options_do_not_hide_the_payload(gateway, drops):
    inner = udp4(DROP, dport=3000, options=b"\x01\x01\x01\x00")
    check_dropped_by_rule(gateway, drops, inner)


def test_a_rewrite_keeps_ipv4_options(gateway):
    options = b"\x01\x01\x01\x00"
    inner = gateway.pass_inner(udp4(WEAK, dport=3000, options=options))
    assert inner == udp4(STRONG, dport=3000, options=options)


# --- fragments and tunnels -----------------------------------------------------------------------


def test_a_first_fragment_does_not_bypass_the_rules(gateway, drops):
    check_dropped_by_rule(gateway, drops, udp4(DROP.ljust(40), dport=3000, fragment=0x2000, ident=9))


def test_a_fragment_without_a_first_one_is_verbatim(gateway):
    check_verbatim(gateway, ipv4(17, DROP.ljust(40), fragment=0x2005, ident=10))


def test_a_first_fragment_is_never_rewritten(gateway):
    check_verbatim(gateway, udp4(WEAK.ljust(40), dport=3000, fragment=0x2000, ident=11))


def test_ip_in_ip_is_opaque(gateway):
    """Rules see the outermost inner headers; what a tunnel carries is its owner's business."""
    check_verbatim(gateway, ipv4(4, udp4(DROP, dport=3000)))


# --- ICMP ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [8, 0], ids=["request", "reply"])
def test_every_fifth_echo_is_dropped(gateway, drops, kind):
    lost = []
    for sequence in range(21):
        packet = outer(geneve(echo4(sequence, kind)))
        if sequence % 5:
            assert gateway.ask(packet).inner == echo4(sequence, kind)
        else:
            lost.append(packet)
    gateway.refused(*lost)
    assert drops() == {"rule": len(lost)}


QUOTED = udp4(b"quoted")[:28]
ICMP_ERRORS = {
    "time-exceeded": icmp4(11, 0, 0, QUOTED),
    "host-unreachable": icmp4(3, 1, 0, QUOTED),
    "port-unreachable": icmp4(3, 3, 0, QUOTED),
    "fragmentation-needed-1500": icmp4(3, 4, 1500, QUOTED),
    "fragmentation-needed-1476": icmp4(3, 4, 1476, QUOTED),
    "redirect": icmp4(5, 1, 0xC0A80101, QUOTED),
    "timestamp": icmp4(13, 0, 5, b"\0" * 12),
    "truncated": ipv4(1, b"\x08\x00\x00"),
}


@pytest.mark.parametrize("inner", ICMP_ERRORS.values(), ids=ICMP_ERRORS.keys())
def test_icmp_other_than_echo_is_verbatim(gateway, inner):
    check_verbatim(gateway, inner)


ICMPV6 = {
    "echo": icmp6(128, rest=77 << 16 | 5, data=b"ping6 payload" * 7),
    "echo-reply": icmp6(129, rest=77 << 16 | 10, data=b"ping6 payload" * 7),
    "time-exceeded": icmp6(3, data=udp6(b"quoted")[:48]),
    "packet-too-big": icmp6(2, rest=1500, data=udp6(b"quoted")[:48]),
}


@pytest.mark.parametrize("inner", ICMPV6.values(), ids=ICMPV6.keys())
def test_icmpv6_is_verbatim(gateway, inner):
    check_verbatim(gateway, inner)


# --- other protocols -----------------------------------------------------------------------------

FRAGMENT_HEADER = struct.pack("!BBHI", 17, 0, 0, 4711)
ROUTING_HEADER = struct.pack("!BBBBI", 17, 0, 4, 0, 0)
UDP_FOR_6 = udp_segment(b"data", 40000, 5000, B6, A6)
OPAQUE = {
    "ipv6-atomic-fragment": ipv6(44, FRAGMENT_HEADER + UDP_FOR_6),
    "ipv6-routing": ipv6(43, ROUTING_HEADER + UDP_FOR_6),
    "ipv6-destination-options": ipv6(60, struct.pack("!BBBB4x", 17, 0, 1, 4) + UDP_FOR_6),
    "ipv6-no-next-header": ipv6(59, b"rest"),
    "esp": ipv4(50, bytes(range(64))),
    "ah": ipv4(51, struct.pack("!BBHII", 17, 4, 0, 1, 1) + b"i" * 12 + UDP_FOR_6),
    "ospf": ipv4(89, bytes(range(44))),
    "igmp": ipv4(2, b"\x16\0\x08\x05\xe1\0\0\xfa"),
    "vrrp": ipv4(112, bytes(range(20))),
    "udp-lite": ipv4(136, b"\x9c\x40\x0b\xb8\0\x08\x12\x34" + DROP + WEAK),
    "protocol-253": ipv4(253, DROP + WEAK),
    "sctp": ipv4(132, bytes(range(32))),
    "gre": ipv4(47, b"\0\0\x08\0" + udp4(DROP, dport=3000)),
    "empty-protocol": ipv4(253, b""),
}


@pytest.mark.parametrize("inner", OPAQUE.values(), ids=OPAQUE.keys())
def test_other_protocols_are_verbatim(gateway, drops, inner):
    check_verbatim(gateway, inner)
    assert drops() == {}


DNS_HEADER = struct.pack("!HHHHHH", 0x1234, 0x8180, 1, 1, 0, 0)
DNS_QUESTION = b"\x03www\x07example\x03com\0" + struct.pack("!HH", 1, 1)
DNS_ANSWER = struct.pack("!HHHIH", 0xC00C, 1, 1, 300, 4) + b"\xc0\0\x02\x01"
DNS_CAA = struct.pack("!HHHIH", 0xC00C, 257, 1, 300, 10) + b"\0\x05issueca"[:10]
UDP_SERVICES = {
    "dns-query": udp4(DNS_HEADER[:6] + b"\0\0\0\0\0\0" + DNS_QUESTION, dport=53),
    "dns-compressed-response": udp4(DNS_HEADER + DNS_QUESTION + DNS_ANSWER, 53, 40000),
    "dns-response-with-caa": udp4(DNS_HEADER + DNS_QUESTION + DNS_CAA, 53, 40000),
    "dns-response-of-1232-bytes": udp4(DNS_HEADER + DNS_QUESTION + b"\xc0\x0c" * 604, 53, 40000),
    "sip": udp4(b"OPTIONS sip:a SIP/2.0\r\nVia: SIP/2.0/UDP b\r\n\r\n", 5060, 5060),
    "ntp": udp4(b"\x23" + b"\0" * 47, 123, 123),
    **{
        f"junk-on-{port}": udp4(b"\xff\x00junk that is no such protocol", dport=port)
        for port in (53, 123, 4789, 5060, 6081, 6343)
    },
}


@pytest.mark.parametrize("inner", UDP_SERVICES.values(), ids=UDP_SERVICES.keys())
def test_udp_services_are_verbatim(gateway, inner):
    check_verbatim(gateway, inner)


@pytest.mark.parametrize("port", [22, 80, 443])
@pytest.mark.parametrize("options", [b"", b"\x02\x04\x05\xb4\x01\x03\x03\x07"], ids=["plain", "options"])
@pytest.mark.parametrize("data", [b"", b"GET / HTTP/1.1\r\n\r\n"], ids=["empty", "data"])
def test_tcp_is_verbatim(gateway, port, options, data):
    check_verbatim(gateway, tcp4(data, dport=port, options=options))


# --- size ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [8432, 8433, 8468, 8499, 8500])
def test_large_inner_packets_come_back_whole(gateway, size):
    """A buffer must have room for the outer headers, too."""
    check_verbatim(gateway, udp4(bytes(size - 28)))


def test_a_rewrite_up_to_the_mtu(gateway, drops):
    """Inner 8,498 bytes grow to 8,500; one byte more and the packet is too big."""
    fits = WEAK.ljust(8498 - 28)
    assert gateway.pass_inner(udp4(fits, dport=3000)) == udp4(fits.replace(WEAK, STRONG), dport=3000)
    gateway.refused(outer(geneve(udp4(WEAK.ljust(8499 - 28), dport=3000))))
    assert drops() == {"too_big": 1}


# --- the process ---------------------------------------------------------------------------------


def test_another_protocol_version_does_not_pass(gateway, drops):
    gateway.refused(outer(geneve(udp4(b"x"), version=1)), outer(geneve(udp4(b"x"), version=2)))
    assert drops() == {"geneve_version": 2}


def test_a_bad_inner_header_checksum_passes_but_is_not_rewritten(gateway, drops):
    """Bytes pass as they are; only a rewrite must trust them."""
    for text, passes in ((b"plain", True), (WEAK, False)):
        inner = bytearray(udp4(text, dport=3000))
        inner[10] ^= 0x55
        if passes:
            check_verbatim(gateway, bytes(inner))
        else:
            gateway.refused(outer(geneve(bytes(inner))))
    assert drops() == {"inner_header_checksum": 1}


def test_other_udp_to_the_host_is_no_packet_of_ours(gateway, lab, drops):
    """A DNS reply to the host itself is nobody's business here, and no error."""
    before = lab.quiet_metrics().total("sluice_packets_received_total")
    with lab.socket("appliance", ("0.0.0.0", 5300)):
        gateway.send(*[outer(geneve(udp4(b"x")), sport=6081, dport=5300) for _ in range(20)])
        time.sleep(0.3)
    after = lab.quiet_metrics().total("sluice_packets_received_total")
    assert after == before
    assert drops() == {}


def test_nothing_is_logged_per_packet(gateway, appliance):
    """Neither what is dropped nor what is forwarded; payload is nobody's to read in a log."""
    before = len(appliance.text)
    for _ in range(10):
        gateway.refused(outer_ip(b"short"), outer(b""), outer(geneve(b"\x99" * 30)))
        gateway.exchange(*[outer(geneve(udp4(b"secret words", dport=3000))) for _ in range(20)])
    new = appliance.text[before:]
    assert "secret words" not in new
    assert len(new.splitlines()) <= 10, new


def test_the_checker_notices(gateway):
    """What these tests compare with is right: a header built here verifies, a changed one does not."""
    inner = udp4(b"checked")
    assert checksum(inner[:20]) == 0 and transport_is_valid(inner)
    assert not transport_is_valid(inner[:-1] + b"?")
    assert checksum(pseudo_header(B4, A4, 17, 0)) != 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["INT", "TERM"])
def test_stopping_does_not_wait_for_a_packet(lab, appliance, combination, number):
    """The stop flag is looked at while no packet comes. Last of this combination."""
    io, count = combination
    appliance.stop()
    quick = {"SLUICE_DRAIN_IDLE": "1"}
    program = lab.start_appliance(
        "--io", io, "--workers", count, "--drain-minimum", 0, environment=quick
    )
    began = time.monotonic()
    assert program.stop(number) == 0
    assert time.monotonic() - began < 30


def test_a_health_check_may_hang_up_at_once(lab, combination):
    """A TCP health checker connects and closes. Last of this combination."""
    io, count = combination
    program = lab.start_appliance("--io", io, "--workers", count)
    for _ in range(50):
        lab.connect().close()
    assert lab.health()[0] == 200
    assert program.stop() == 0
