"""Fragmenting evades no rule, in any order of arrival: fragments that scapy makes, and
ones that an attacker would, judged by the rule engine; a model of the receiver says what it would
put together from those that pass."""

import itertools
import random
import struct

import pytest
from scapy.layers.inet import IP, UDP, fragment
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, fragment6
from scapy.packet import Raw

from explain import explain_json, ipv6_fragment, verdicts, write_capture
from packets import A4, A6, B4, B6, ipv4

POLICY = """
policy:
  default: {default}
  rules:
    - {{ name: chat, match: {{ protocol: udp, port: 3000 }}, action: drop }}
    - {{ name: text, match: {{ payload: {{ contains: drop me }} }}, action: drop }}
    - {{ name: syn, match: {{ tcp-flags: {{ set: [syn], clear: [ack] }} }}, action: drop }}
    - {{ name: allowed, match: {{ port: 4000 }}, action: forward }}
"""


@pytest.fixture(params=["forward", "drop"])
def default(request):
    return request.param


@pytest.fixture
def config(tmp_path, default):
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY.format(default=default))
    return path


def pieces(version, port, ident, text=b""):
    """A datagram in four fragments by scapy."""
    datagram = UDP(sport=40000, dport=port) / Raw(text + b"x" * (1100 - len(text)))
    if version == 4:
        return [bytes(one) for one in fragment(IP(src=B4, dst=A4, id=ident) / datagram, 300)]
    whole = IPv6(src=B6, dst=A6) / IPv6ExtHdrFragment(id=ident) / datagram
    return [bytes(one) for one in fragment6(IPv6(bytes(whole)), 352)]


@pytest.mark.parametrize("version", [4, 6])
def test_scapy_fragments_in_every_order(tmp_path, config, default, version):
    packets, expected = [], []
    cases = itertools.product(itertools.permutations(range(4)), ((3000, b""), (4000, b""), (4000, b"drop me")))
    for ident, (order, (port, text)) in enumerate(cases, 1):
        made = pieces(version, port, ident, text)
        assert len(made) == 4
        seen_first = False
        for index in order:
            packets.append(made[index])
            seen_first |= index == 0
            if not seen_first:
                expected.append(default)
            else:
                expected.append("forward" if port == 4000 and not text else "drop")
    capture = write_capture(tmp_path / "orders.pcap", packets)
    assert verdicts(config, capture) == expected


@pytest.mark.parametrize("version", [4, 6])
def test_a_repeated_first_fragment_is_judged_again(tmp_path, config, version):
    made = pieces(version, 4000, 1)
    bad = pieces(version, 3000, 1)
    sequence = [made[0], made[0], made[1], bad[0], made[2], made[0], made[3]]
    capture = write_capture(tmp_path / "again.pcap", sequence)
    assert verdicts(config, capture) == [
        "forward", "forward", "forward", "drop", "drop", "forward", "forward",
    ]  # fmt: skip


def test_a_fate_is_forgotten_after_thirty_seconds(tmp_path, config, default):
    made = pieces(4, 3000, 7)
    capture = write_capture(tmp_path / "late.pcap", made, times=[0, 1, 30.5, 61.6])
    packets, _ = explain_json(config, capture)
    assert [one["verdict"] for one in packets] == ["drop", "drop", "drop", default]
    assert [one.get("reason") for one in packets][:3] == ["rule", "fragment", "fragment"]


def tcp_header(flags, dport=80):
    return struct.pack("!HHIIBBHHH", 40000, dport, 1, 1, 5 << 4, flags, 8192, 0, 0)


@pytest.mark.parametrize("cut", [8, 16])
@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("mode", ["follow-first", "forward", "drop"])
def test_a_header_split_over_fragments_does_not_pass(tmp_path, version, mode, cut):
    """RFC 1858 §3: flags in the second fragment; §4 and RFC 3128: overwritten by it."""
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY.format(default="forward").replace("default:", f"fragments: {mode}\n  default:"))
    segment = tcp_header(0x02) + b"y" * 28
    parts = [(segment[:cut], 0, True), (segment[cut:], cut, False)]
    harmless = tcp_header(0x10) + b"y" * 20
    overwritten = [(harmless, 0, True), (segment[8:40], 8, False)]
    packets = []
    for ident, (case, order) in enumerate(
        itertools.product((parts, overwritten), ((0, 1), (1, 0))), 1
    ):
        packets += [make(version, *case[index], ident, 6) for index in order]
    capture = write_capture(tmp_path / "split.pcap", packets)
    got = verdicts(path, capture)
    # The split one does not pass at all. Of the other the later fragment does not.
    assert got[:4] == ["drop"] * 4
    assert got[5] == "drop" and got[6] == "drop"


def make(version, payload, offset, more, ident, protocol):
    if version == 4:
        return ipv4(protocol, payload, B4, A4, ident=ident, fragment=(0x2000 if more else 0) | offset // 8)
    return ipv6_fragment(payload, offset, more, ident, protocol, B6, A6)


def test_an_ipv6_header_chain_that_goes_on_in_the_next_fragment_does_not_pass(tmp_path, config):
    """RFC 7112: the first fragment has the whole chain."""
    options = struct.pack("!BB", 17, 2) + b"\x01\x14" + b"\0" * 20
    datagram = struct.pack("!HHHH", 40000, 3000, 40, 0) + b"z" * 32
    fragments = [
        ipv6_fragment(options[:16], 0, True, 1, 60, B6, A6),
        ipv6_fragment(options[16:] + datagram, 16, False, 1, 60, B6, A6),
    ]
    capture = write_capture(tmp_path / "chain.pcap", fragments)
    packets, _ = explain_json(config, capture)
    assert (packets[0]["verdict"], packets[0]["reason"]) == ("drop", "inner_malformed")


# --- whatever an attacker sends ------------------------------------------------------------------


def reassemble(fragments, last_wins):
    """The datagram that a receiver puts together, or None while something is missing."""
    data, known, end = bytearray(65536), bytearray(65536), None
    for payload, offset, more in fragments:
        for index, byte in enumerate(payload):
            if last_wins or not known[offset + index]:
                data[offset + index] = byte
            known[offset + index] = 1
        if not more:
            end = offset + len(payload)
    if end is None or not all(known[:end]):
        return None
    return bytes(data[:end])


def attack(dice, protocol):
    """Fragments of one datagram: overlapping, tiny, repeated, in any order; good headers and bad."""

    def header(bad):
        if protocol == 17:
            return struct.pack("!HHHH", 40000, 3000 if bad else 4000, 64, 0)
        return tcp_header(0x02 if bad else 0x10, 4000)

    made = []
    for _ in range(dice.randint(2, 5)):
        whole = header(dice.random() < 0.5) + bytes([dice.randint(97, 122)]) * 44
        offset = dice.choice([0, 0, 0, 8, 16, 24, 32])
        end = dice.choice([8, 16, 24, 32, 40, 48])
        if end <= offset:
            end = offset + 8
        # Offset 0 and no more to come would be a whole packet, no fragment.
        made.append((whole[offset:end], offset, offset == 0 or dice.random() < 0.6))
    dice.shuffle(made)
    return made


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("protocol", [6, 17])
def test_no_receiver_puts_a_forbidden_header_together(tmp_path, version, protocol):
    dice = random.Random(version * 100 + protocol)
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY.format(default="forward"))
    attacks = [attack(dice, protocol) for _ in range(1500)]
    packets = [
        make(version, *one, ident, protocol)
        for ident, fragments in enumerate(attacks, 1)
        for one in fragments
    ]
    result = iter(verdicts(path, write_capture(tmp_path / "attack.pcap", packets)))
    complete = 0
    for fragments in attacks:
        passed = [one for one in fragments if next(result) == "forward"]
        for last_wins in (False, True):
            datagram = reassemble(passed, last_wins)
            if datagram is None or len(datagram) < (20 if protocol == 6 else 8):
                continue
            complete += 1
            if protocol == 17:
                assert datagram[2:4] != struct.pack("!H", 3000), (fragments, passed)
            else:
                assert datagram[13] & 0x12 != 0x02, (fragments, passed)
    assert complete > 20, "some datagrams pass whole"
