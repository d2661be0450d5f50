"""sluice-gwlb judges what it gets back: right passes, each kind of wrong is counted."""

import socket
import time

import pytest

from lab import wait_until
from packets import A4, B4, aws_options, geneve, outer, udp4
from reflector import repair_header, repair_udp, swap_addresses

FIRST, SECOND = "192.168.20.5", "192.168.20.6"
GENEVE = 28  # offset of the Geneve header in the outer packet
COOKIE = GENEVE + 36
INNER = GENEVE + 40
KEYS = "encapsulated delivered lost_to_unhealthy tcp_resets violations targets flows".split()
VIOLATIONS = """
    addresses ports geneve outer_checksum inner_checksum payload unexpected missing_drop duplicate
    reordered late
""".split()


def flip(packet, offset, mask=0xFF):
    return packet[:offset] + bytes([packet[offset] ^ mask]) + packet[offset + 1 :]


def talk(lab, count=10, text=b"how do you do", port=7000, clients=1):
    """Datagrams from b to a, each flow its own client; what arrived at a."""
    arrived = []
    with lab.socket("a", (A4, port)) as server:
        server.settimeout(1)
        # Chosen ports, since the kernel may give the same one twice: each client is a flow.
        for index in range(clients):
            with lab.socket("b", (B4, 20000 + index)) as client:
                for _ in range(count):
                    client.sendto(text, (A4, port))
                    time.sleep(0.005)
        try:
            while True:
                arrived.append(server.recv(9000))
        except TimeoutError:
            return arrived


def test_a_right_answer_is_delivered(fresh, emulator, reflector):
    reflector()
    gwlb = emulator("--expect", "reflect")
    assert talk(fresh) == [b"how do you do"] * 10
    verdict = gwlb.finish_clean()
    assert set(KEYS) <= set(verdict)
    assert set(VIOLATIONS) <= set(verdict["violations"])
    assert verdict["encapsulated"] == verdict["delivered"] == 10
    assert verdict["flows"] == 1
    (target,) = verdict["targets"]
    assert (target["address"], target["state"]) == (FIRST, "healthy")
    assert (target["sent"], target["received"]) == (10, 10)


def test_a_lost_connection_is_reset_when_asked_for(fresh, emulator, reflector):
    """A load balancer that knows nothing of the connection: the client learns of it at once."""
    reflector()
    gwlb = emulator("--expect", "reflect")
    with fresh.socket("a", (A4, 7000), socket.SOCK_STREAM) as server:
        server.listen()
        client = fresh.socket("b", kind=socket.SOCK_STREAM)
        client.connect((A4, 7000))
        gwlb.finish_clean()
        gwlb = emulator("--expect", "reflect", "--tcp-reset")
        client.sendall(b"anybody there?")
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        client.close()
        with fresh.socket("b", kind=socket.SOCK_STREAM) as another:
            another.connect((A4, 7000))
    verdict = gwlb.finish_clean()
    assert verdict["tcp_resets"] >= 1


def test_the_header_is_exactly_gwlbs(fresh, emulator, reflector):
    """68 bytes: TTL 255, port 6081, valid checksums, the three options, nothing else.

    The identification may be the kernel's: it fills a zero one for who sends by a raw socket.
    """
    packets = []

    def keep(packet):
        packets.append(packet)
        return [swap_addresses(packet)]

    reflector(answer=keep)
    emulator("--expect", "reflect")
    talk(fresh, count=2)
    assert len(packets) == 2
    for packet in packets:
        inner = packet[INNER:]
        cookie = int.from_bytes(packet[COOKIE : COOKIE + 4], "big")
        port = int.from_bytes(packet[20:22], "big")
        source = ".".join(str(octet) for octet in packet[12:16])
        assert source in ("192.168.20.10", "192.168.20.11")
        ident = int.from_bytes(packet[4:6], "big")
        payload = geneve(inner, aws_options(cookie=cookie))
        assert packet == outer(payload, sport=port, source=source, ident=ident)
        assert inner[0] == 0x45 and inner[16:20] == bytes([192, 168, 1, 10])
    assert packets[0][20:22] == packets[1][20:22], "one flow, one port"


def test_both_directions_have_one_port_and_cookie(fresh, emulator, reflector):
    seen = set()

    def keep(packet):
        seen.add((packet[20:22], packet[COOKIE : COOKIE + 4]))
        return [swap_addresses(packet)]

    reflector(answer=keep)
    gwlb = emulator("--expect", "reflect")
    with fresh.socket("a", (A4, 7000)) as server, fresh.socket("b", (B4, 0)) as client:
        client.sendto(b"there", (A4, 7000))
        _, peer = server.recvfrom(100)
        server.sendto(b"and back", peer)
        assert client.recv(100) == b"and back"
    assert len(seen) == 1
    assert gwlb.finish_clean()["flows"] == 1


def test_zero_outer_checksums_on_request(fresh, emulator, reflector):
    sums = set()

    def keep(packet):
        sums.add(packet[26:28])
        return [swap_addresses(packet)]

    reflector(answer=keep)
    gwlb = emulator("--expect", "reflect", "--outer-checksum", "zero")
    assert len(talk(fresh)) == 10
    assert sums == {b"\0\0"}
    gwlb.finish_clean()


def swapped_ports(packet):
    reply = swap_addresses(packet)
    return [reply[:20] + reply[22:24] + reply[20:22] + reply[24:]]


def other_cookie(packet):
    return [repair_udp(flip(swap_addresses(packet), COOKIE))]


def other_vni(packet):
    return [repair_udp(flip(swap_addresses(packet), GENEVE + 5))]


def from_another_address(packet):
    reply = swap_addresses(packet)
    return [repair_udp(repair_header(reply[:15] + b"\x06" + reply[16:]))]


def wrong_outer_sum(packet):
    return [flip(swap_addresses(packet), 26, 0x55)]


def wrong_inner_sum(packet):
    return [repair_udp(flip(swap_addresses(packet), INNER + 26, 0x55))]


def changed_payload(packet):
    """Two bytes trade places with a distance that keeps the inner checksum right."""
    reply, at = swap_addresses(packet), INNER + 28
    assert reply[at] != reply[at + 2]
    first, second, third = (reply[at + index : at + index + 1] for index in range(3))
    return [repair_udp(reply[:at] + third + second + first + reply[at + 3 :])]


def twice(packet):
    return [swap_addresses(packet)] * 2


def never_sent(packet):
    """A right answer, and a packet of a flow that does not exist."""
    inner = udp4(b"hello from nowhere", sport=1, dport=2)
    stranger = outer(geneve(inner), source=FIRST, destination="192.168.20.10")
    return [swap_addresses(packet), stranger]


MISBEHAVIOUR = {
    "ports": swapped_ports,
    "geneve": other_cookie,
    "addresses": from_another_address,
    "outer_checksum": wrong_outer_sum,
    "inner_checksum": wrong_inner_sum,
    "payload": changed_payload,
    "duplicate": twice,
    "unexpected": never_sent,
}


@pytest.mark.parametrize("kind, answer", MISBEHAVIOUR.items(), ids=MISBEHAVIOUR.keys())
def test_misbehaviour_is_a_violation(fresh, emulator, reflector, kind, answer):
    reflector(answer=answer)
    gwlb = emulator("--expect", "reflect")
    talk(fresh)
    code, verdict = gwlb.finish()
    assert code == 1
    assert verdict["violations"][kind] > 0, verdict


def test_a_changed_vni_is_a_violation(fresh, emulator, reflector):
    reflector(answer=other_vni)
    gwlb = emulator("--expect", "reflect")
    talk(fresh)
    code, verdict = gwlb.finish()
    assert code == 1 and verdict["violations"]["geneve"] > 0, verdict


@pytest.mark.parametrize(
    "text, kind", [(b"please drop me", "missing_drop"), (b"weakly typed", "payload")]
)
def test_not_following_the_blog_policy_is_a_violation(fresh, emulator, reflector, text, kind):
    reflector()
    gwlb = emulator("--expect", "blog")
    talk(fresh, text=text, port=3000)
    code, verdict = gwlb.finish()
    assert code == 1 and verdict["violations"][kind] > 0, verdict


def test_any_lets_inner_bytes_change(fresh, emulator, reflector):
    reflector(answer=changed_payload)
    gwlb = emulator("--expect", "any")
    assert len(talk(fresh)) == 10
    gwlb.finish_clean()


# --- several targets -----------------------------------------------------------------------------

BOTH = (FIRST, SECOND)


def test_flows_stick_to_their_target(fresh, emulator, reflector):
    mirror = reflector(addresses=BOTH)
    gwlb = emulator("--expect", "reflect", targets=BOTH)
    assert len(talk(fresh, count=5, clients=64)) == 5 * 64
    first, second = mirror.ports_at(FIRST), mirror.ports_at(SECOND)
    assert first and second, "64 flows use both targets"
    assert not first & second, "a flow is at one target"
    assert len(first | second) == 64
    assert gwlb.finish_clean()["flows"] == 64


class Conversations:
    """Flows that live through a failover: each sends one datagram when told."""

    def __init__(self, lab, mirror, count=32):
        self.mirror = mirror
        self.server = lab.socket("a", (A4, 7000))
        self.clients = [lab.socket("b", (B4, 0)) for _ in range(count)]

    def speak(self):
        """Says something in every flow; the ports (flows) seen at each target."""
        self.mirror.forget()
        for client in self.clients:
            client.sendto(b"still there?", (A4, 7000))
        wait_until(
            lambda: sum(map(len, self.mirror.seen.values())) >= len(self.clients), "all flows arrive"
        )
        return self.mirror.ports_at(FIRST), self.mirror.ports_at(SECOND)

    def close(self):
        for sock in (self.server, *self.clients):
            sock.close()


@pytest.fixture
def conversations(fresh):
    made = []

    def start(mirror):
        made.append(Conversations(fresh, mirror))
        return made[-1]

    yield start
    for one in made:
        one.close()


def new_flows(lab, mirror, count=16):
    mirror.forget()
    talk(lab, count=1, clients=count, port=7200)
    return len(mirror.ports_at(FIRST)), len(mirror.ports_at(SECOND))


def fail(mirror, gwlb, address):
    mirror.set_health(address, False)
    gwlb.program.wait_for(f"target {address} unhealthy")


def test_no_rebalance_keeps_flows_at_a_failed_target(fresh, emulator, reflector, conversations):
    mirror = reflector(addresses=BOTH)
    gwlb = emulator("--expect", "reflect", "--failover", "no_rebalance", targets=BOTH)
    talkers = conversations(mirror)
    before = talkers.speak()
    assert all(before)
    fail(mirror, gwlb, FIRST)
    assert talkers.speak() == before, "old flows stay"
    assert new_flows(fresh, mirror) == (0, 16), "new flows avoid it"


def test_rebalance_moves_flows_from_a_failed_target(fresh, emulator, reflector, conversations):
    mirror = reflector(addresses=BOTH)
    gwlb = emulator("--expect", "reflect", "--failover", "rebalance", targets=BOTH)
    talkers = conversations(mirror)
    first, second = talkers.speak()
    assert first and second
    fail(mirror, gwlb, FIRST)
    assert talkers.speak() == (set(), first | second)
    assert new_flows(fresh, mirror) == (0, 16)


def test_fail_open_when_no_target_is_healthy(fresh, emulator, reflector):
    mirror = reflector(addresses=BOTH)
    gwlb = emulator("--expect", "reflect", targets=BOTH)
    for address in BOTH:
        fail(mirror, gwlb, address)
    first, second = new_flows(fresh, mirror, count=64)
    assert first and second and first + second == 64


def test_a_target_comes_back(fresh, emulator, reflector):
    mirror = reflector(addresses=BOTH)
    gwlb = emulator("--expect", "reflect", targets=BOTH)
    fail(mirror, gwlb, SECOND)
    mirror.set_health(SECOND, True)
    wait_until(
        lambda: gwlb.program.text.count(f"target {SECOND} healthy") >= 2, "it is healthy again"
    )
    first, second = new_flows(fresh, mirror, count=64)
    assert first and second
