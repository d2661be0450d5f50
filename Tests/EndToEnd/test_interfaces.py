"""Several interfaces: what comes in by each, where answers leave, and interfaces that come and go."""

import contextlib
import re
import socket
import time

import pytest

from conftest import BACKENDS
from gateway import _mac
from lab import ADDRESS, GIVE_UP, ROOT, run, wait_until
from packets import GATEWAY, fragments, geneve, next_port, outer, udp4
from reloading import COUNT, DROP, reload, rules, start

OURS, THEIRS = "192.168.30.5", "192.168.30.10"
AFAR = "203.0.113.9"  # no interface's network
TABLE = 77


def ip(lab, host, *words, check=True):
    return run("ip", "-n", lab.namespace(host), *words, check=check)


class Cable:
    """A second cable between gateway and appliance, with a tap at the gateway's end."""

    def __init__(self, lab, address=OURS):
        self.lab = lab
        self.sent = 0
        self.plug(address)

    def plug(self, address=OURS):
        ours, theirs = (self.lab.namespace(host) for host in ("appliance", "gwlb"))
        run("ip", "link", "add", "eth1", "netns", ours, "mtu", 9001,
            "type", "veth", "peer", "name", "to-appliance-1", "netns", theirs, "mtu", 9001)  # fmt: skip
        for host, device, own in (("appliance", "eth1", address), ("gwlb", "to-appliance-1", THEIRS)):
            self.lab.run(host, "ethtool", "-K", device, "tx", "off", "rx", "off", "gro", "off")
            ip(self.lab, host, "addr", "add", f"{own}/24", "dev", device)
            ip(self.lab, host, "link", "set", device, "up")
        self.here = _mac(self.lab, "gwlb", "to-appliance-1")
        self.there = _mac(self.lab, "appliance", "eth1")
        # Both ends know each other at once, and no resolution is under way when packets come.
        ip(self.lab, "appliance", "neigh", "replace", THEIRS, "lladdr", _text(self.here),
           "dev", "eth1", "nud", "permanent")  # fmt: skip
        with self.lab.inside("gwlb"):
            self.tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.tap.bind(("to-appliance-1", 3))

    def unplug(self):
        for device in ("eth1", "lan1"):
            ip(self.lab, "appliance", "link", "del", device, check=False)
        self.tap.close()

    def send(self, packet, mac=None):
        self.tap.send((mac or self.there) + self.here + b"\x08\x00" + packet)
        self.sent += 1

    def answers(self, destination=OURS, source=THEIRS, patience=0.5):
        """Whether a good packet comes back by this cable within a moment."""
        port = next_port()
        self.send(outer(geneve(udp4(b"by the second cable")), sport=port,
                        source=source, destination=destination))  # fmt: skip
        return self.returned(port, patience)

    def returned(self, port, patience=0.5):
        until = time.monotonic() + patience
        while (left := until - time.monotonic()) > 0:
            self.tap.settimeout(left)
            with contextlib.suppress(TimeoutError):
                frame, source = self.tap.recvfrom(65536)
                is_theirs = source[2] != 4 and frame[12:14] == b"\x08\x00" and frame[23] == 17
                if is_theirs and int.from_bytes(frame[34:36], "big") == port:
                    return True
        return False


def _text(mac):
    return ":".join(f"{byte:02x}" for byte in mac)


@pytest.fixture
def cable(fresh):
    made = Cable(fresh)
    yield made
    made.unplug()


def reason(lab):
    return lab.health()[1]


def unclaimed(lab):
    return int(lab.metrics().total("sluice_unclaimed_packets_total"))


def counted(lab):
    """All that reached the port: taken or not."""
    return int(lab.quiet_metrics().total("sluice_packets_received_total")) + unclaimed(lab)


# --- where packets come in, and answers leave ----------------------------------------------------


@pytest.mark.parametrize("io", BACKENDS)
def test_auto_serves_every_ethernet_interface_with_an_address(fresh, cable, own_gateway, io):
    program = fresh.start_appliance("--io", io, "--workers", 2)
    assert f"{io} on eth0, eth1" in program.text
    assert cable.answers()
    own_gateway.ask(outer(geneve(udp4(b"by the first"))))
    assert unclaimed(fresh) == 0


@pytest.fixture
def source_routing(fresh, cable):
    """What a second network card has on EC2: a table of its own for packets from its address."""
    rule = ("rule", "add", "from", OURS, "lookup", TABLE)
    ip(fresh, "appliance", *rule)
    ip(fresh, "appliance", "route", "add", "default", "via", THEIRS, "dev", "eth1", "table", TABLE)
    yield
    ip(fresh, "appliance", "rule", "del", *rule[2:])


@pytest.mark.parametrize("arguments", [(), ("--interface", "eth1"), ("--address", OURS)])
@pytest.mark.parametrize("io", BACKENDS)
def test_answers_follow_source_routing(fresh, cable, source_routing, io, arguments):
    fresh.start_appliance("--io", io, "--workers", 1, *arguments)
    assert cable.answers(source=AFAR)


@pytest.mark.parametrize("io", BACKENDS)
def test_without_source_routing_answers_go_as_those_of_any_program(fresh, cable, own_gateway, io):
    """`packet` asks no route: it answers the card that has sent the frame."""
    fresh.start_appliance("--io", io, "--workers", 1)
    assert cable.answers()
    port = next_port()
    cable.send(outer(geneve(udp4(b"from afar")), sport=port, source=AFAR, destination=OURS))
    if io == "packet":
        assert cable.returned(port)
    else:
        found = own_gateway.collect(
            time.monotonic() + GIVE_UP, lambda got: any(one.sport == port for one in got)
        )
        assert [one.sport for one in found] == [port]


# --- interfaces that come and go -----------------------------------------------------------------


@pytest.mark.parametrize("arguments", [(), ("--interface", "eth1")])
@pytest.mark.parametrize("io", BACKENDS)
def test_an_interface_that_is_made_anew_is_served_again(fresh, cable, io, arguments):
    program = fresh.start_appliance("--io", io, "--workers", 2, *arguments)
    for _ in range(2):
        assert cable.answers()
        cable.unplug()
        wait_until(lambda: fresh.health()[0] == 503, "health says that it is away")
        assert "not there: interface eth1" in reason(fresh)
        cable.plug()
        wait_until(cable.answers, "it is served again")
        wait_until(lambda: fresh.health()[0] == 200, "and health knows")
    assert counted(fresh) == cable.sent, "nothing was lost uncounted"
    assert "serving eth" in program.text


def test_rules_are_taken_over_while_an_interface_is_away(fresh, cable, control, config):
    start(fresh, config(rules(DROP)), control, "--interface", "eth1")
    cable.unplug()
    wait_until(lambda: fresh.health()[0] == 503, "health says that it is away")
    config(rules(COUNT))
    done = reload(control)
    assert done.returncode == 0, done.stderr
    cable.plug()
    wait_until(cable.answers, "it is served again")


@pytest.mark.parametrize("arguments", [(), ("--interface", "eth1")])
@pytest.mark.parametrize("io", BACKENDS)
def test_an_interface_that_is_renamed_is_served_on(fresh, cable, io, arguments):
    program = fresh.start_appliance("--io", io, "--workers", 1, *arguments)
    for words in (("down",), ("name", "lan1"), ("up",)):
        ip(fresh, "appliance", "link", "set", "lan1" if words == ("up",) else "eth1", *words)
    # Taking it down has forgotten what it knew of its neighbours.
    ip(fresh, "appliance", "neigh", "replace", THEIRS, "lladdr", _text(cable.here),
       "dev", "lan1", "nud", "permanent")  # fmt: skip
    wait_until(cable.answers, "it is served")
    program.wait_for("lan1")
    assert fresh.health()[0] == 200


@pytest.mark.parametrize("arguments", [(), ("--address", OURS)])
@pytest.mark.parametrize("io", BACKENDS)
def test_an_address_that_moves_is_served_where_it_is(fresh, cable, own_gateway, io, arguments):
    fresh.start_appliance("--io", io, "--workers", 1, *arguments)
    assert cable.answers()
    ip(fresh, "appliance", "addr", "del", f"{OURS}/24", "dev", "eth1")
    if arguments:
        wait_until(lambda: fresh.health()[0] == 503, "health says that it is away")
        assert f"not there: address {OURS}" in reason(fresh)
    ip(fresh, "appliance", "addr", "add", f"{OURS}/32", "dev", "eth0")
    try:
        wait_until(lambda: own_gateway.answers(OURS), "it is served by the other interface")
        wait_until(lambda: fresh.health()[0] == 200, "and health knows")
        before = counted(fresh)
        for _ in range(20):
            cable.send(outer(geneve(udp4(b"to the old place")), source=THEIRS, destination=OURS))
        # It is served on, though it has no address now; whatever is not taken is counted.
        wait_until(lambda: counted(fresh) - before == 20, "each is counted")
    finally:
        ip(fresh, "appliance", "addr", "del", f"{OURS}/32", "dev", "eth0")


@pytest.mark.parametrize("io", BACKENDS)
def test_an_interface_that_comes_later_is_served_and_missed_by_nobody(fresh, io):
    fresh.start_appliance("--io", io, "--workers", 1)
    cable = Cable(fresh)
    try:
        wait_until(cable.answers, "it is served")
    finally:
        cable.unplug()
    time.sleep(0.5)
    assert fresh.health()[0] == 200


# --- what each backend refuses -------------------------------------------------------------------


def table():
    """First cell → what becomes of the packet, by backend, as the page says."""
    text = (ROOT / "docs/backends.md").read_text()
    section = text[text.index("## What each takes and refuses") :]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in re.search(r"\n\n((?:\|.*\n)+)", section)[1].splitlines()
    ]
    return {row[0]: dict(zip(rows[0][1:], row[1:])) for row in rows[2:]}


def spoiled(packet, at):
    return packet[:at] + bytes([packet[at] ^ 0x55]) + packet[at + 1 :]


def good(**header):
    return outer(geneve(udp4(b"one of the table")), **header)


def tagged(tag):
    return lambda gateway, _: gateway.tap.send(
        gateway.there + gateway.here + b"\x81\0" + tag.to_bytes(2, "big") + b"\x08\0" + good()
    )


def sends(*packets, mac=None):
    return lambda gateway, _: gateway.send(*packets, mac=mac)


EVERYONE = b"\xff" * 6
ROWS = {
    "in a frame for the host's card, to an address of the host": sends(good()),
    "to an address of a route of type `local` (AnyIP)": sends(good(destination="10.98.7.7")),
    "in outer fragments": sends(*fragments(outer(geneve(udp4(b"f" * 4000)), ident=7))),
    "with a priority tag (VLAN 0)": tagged(0x2000),
    "with the tag of a VLAN that has no interface": tagged(0x000A),
    "to an address that the host does not have": sends(good(destination="192.168.20.99")),
    "from 0.0.0.0/8 or 224.0.0.0/3": sends(good(source="224.1.2.3")),
    "to a broadcast or multicast address": sends(good(destination="192.168.20.255"), mac=EVERYONE),
    "to an address of the host, in a broadcast or multicast frame": sends(good(), mac=EVERYONE),
    "by an interface that is not served": lambda _, cable: cable.send(
        good(source=THEIRS, destination=OURS)
    ),
    "to an address of the host other than `--address`": sends(good(destination="192.168.20.6")),
    "with a wrong outer IPv4 header checksum": sends(spoiled(good(), 10)),
    "with a wrong outer UDP checksum, unless it is rewritten": sends(spoiled(good(), 26)),
}


def test_every_row_of_the_table_has_a_test():
    assert list(table()) == list(ROWS)


def figures(lab):
    metrics = lab.quiet_metrics()
    counts = metrics.by("sluice_packets_dropped_total", "reason")
    counts["unclaimed"] = metrics.total("sluice_unclaimed_packets_total")
    counts["kernel drop"] = metrics.total("sluice_kernel_drops_total")
    return counts


@pytest.mark.parametrize("io", BACKENDS)
def test_the_table_says_what_becomes_of_each_packet(fresh, cable, own_gateway, io):
    """One start for all rows but that of --address."""
    ip(fresh, "appliance", "route", "add", "local", "10.98.0.0/16", "dev", "lo")
    try:
        fresh.start_appliance("--io", io, "--workers", 1, "--interface", "eth0")
        for row, send in ROWS.items():
            if "`--address`" not in row:
                check(fresh, own_gateway, cable, row, send, io)
        fresh.end_programs()
        fresh.start_appliance("--io", io, "--workers", 1, "--address", ADDRESS)
        for row, send in ROWS.items():
            if "`--address`" in row:
                check(fresh, own_gateway, cable, row, send, io)
    finally:
        ip(fresh, "appliance", "route", "del", "local", "10.98.0.0/16", "dev", "lo")


def check(lab, gateway, cable, row, send, io):
    outcome = table()[row][io].strip("`")
    before = figures(lab)
    send(gateway, cable)
    answers = gateway.exchange()
    assert len(answers) == (1 if outcome == "answered" else 0), f"{io}: {row}"
    # The kernel's drops are read a few times a second.
    wait_until(
        lambda: changes(before, figures(lab)) == ({} if outcome in ("answered", "not counted") else {outcome: 1}),
        f"{io}: {row}: {outcome}, not {changes(before, figures(lab))}",
    )
    gateway.check_silence()


def changes(before, after):
    return {name: after[name] - before[name] for name in after if after[name] != before[name]}
