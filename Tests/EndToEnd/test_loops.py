"""What must not circle, be lost or count as sent: loops, merged packets, full queues; the port's last taker."""

import contextlib
import re
import time
from pathlib import Path

import pytest

from conftest import BACKENDS
from lab import ADDRESS, BIN, GIVE_UP, check_refusal, wait_until
from packets import GATEWAY, geneve, outer, udp4

OTHER = "192.168.20.6"  # the appliance's second address
NEW = "192.168.20.99"  # an address that it gets


def request(text=b"x", **options):
    return outer(geneve(udp4(text)), **options)


# --- loops ---------------------------------------------------------------------------------------


def unclaimed(lab):
    return lab.metrics().total("sluice_unclaimed_packets_total")


@pytest.mark.parametrize("io", BACKENDS)
def test_a_datagram_from_one_own_address_to_another_is_not_answered(fresh, io):
    fresh.start_appliance("--io", io, "--workers", 1)
    sender = fresh.socket("appliance", (OTHER, 6082))
    sender.sendto(geneve(udp4(b"from an ordinary user")), (ADDRESS, 6081))
    wait_until(lambda: unclaimed(fresh) == 1, "it is counted")
    assert fresh.quiet_metrics().total("sluice_packets_received_total") == 0


@pytest.mark.parametrize("io", BACKENDS)
def test_over_loopback_own_addresses_are_refused(fresh, io):
    """Even where `lo` is served."""
    fresh.start_appliance("--io", io, "--workers", 1, "--interface", "lo")
    sender = fresh.socket("appliance", (OTHER, 6082))
    sender.sendto(geneve(udp4(b"from an ordinary user")), (ADDRESS, 6081))
    wait_until(lambda: fresh.metrics().dropped() == {"source_not_allowed": 1}, "it is refused")
    assert fresh.quiet_metrics().total("sluice_packets_received_total") == 1


def test_own_addresses_from_the_wire_are_refused_as_they_come_and_go(fresh, own_gateway):
    """With udp and raw the kernel refuses them before (accept_local is off)."""
    fresh.start_appliance("--io", "packet", "--workers", 1)
    assert is_refused(fresh, own_gateway, OTHER)
    assert not is_refused(fresh, own_gateway, NEW)
    words = (f"{NEW}/32", "dev", "eth0")
    fresh.run("appliance", "ip", "address", "add", *words)
    try:
        wait_until(lambda: is_refused(fresh, own_gateway, NEW), "the new address is refused")
    finally:
        fresh.run("appliance", "ip", "address", "del", *words)
    wait_until(lambda: not is_refused(fresh, own_gateway, NEW), "it is a stranger's again")


def is_refused(lab, gateway, source):
    """Whether a packet from there is; it is decided once the good ones behind it are back."""
    before = lab.quiet_metrics().dropped().get("source_not_allowed", 0)
    gateway.exchange(request(source=source))
    return lab.quiet_metrics().dropped().get("source_not_allowed", 0) > before


@pytest.mark.parametrize("io", BACKENDS)
def test_an_answer_has_one_hop_less_and_the_last_hop_is_not_answered(fresh, own_gateway, io):
    fresh.start_appliance("--io", io, "--workers", 1)
    assert own_gateway.ask(request(ttl=2)).ttl == 1
    reply = own_gateway.ask(request(ttl=255))
    assert reply.ttl == 254 and reply.header_is_valid
    own_gateway.send(request(ttl=1), request(ttl=0))
    # Of the kernel's backends, the kernel may refuse a time to live of 0 first.
    wait_until(lambda: fresh.metrics().dropped().get("outer_ttl", 0) >= 1, "refused")
    assert own_gateway.ask(request())
    assert set(fresh.quiet_metrics().dropped()) == {"outer_ttl"}


# --- merged packets ------------------------------------------------------------------------------

FEATURES = ("rx-udp-gro-forwarding", "rx-gro-list")


@pytest.fixture
def merging(fresh):
    """Switches a feature of the appliance's interface; off again after the test."""

    def switch(feature, state):
        fresh.run("appliance", "ethtool", "-K", "eth0", feature, state)

    switch("gro", "on")
    yield switch
    for feature in FEATURES:
        switch(feature, "off")
    switch("gro", "off")


@pytest.mark.parametrize("feature", FEATURES)
@pytest.mark.parametrize("io", ["packet", "raw"])
def test_a_start_that_would_lose_merged_packets_is_refused(fresh, merging, io, feature):
    merging(feature, "on")
    program = fresh.start("appliance", BIN / "sluice", "run", "--io", io)
    check_refusal(program, 64, f"`ethtool -K eth0 {feature} off`")


def test_auto_takes_udp_where_packets_are_merged_and_says_why(fresh, merging):
    merging("rx-gro-list", "on")
    program = fresh.start_appliance("--workers", 1)
    assert "io auto: udp, since packet is not possible" in program.text
    assert "`ethtool -K eth0 rx-gro-list off`" in program.text


@pytest.mark.parametrize("io", ["packet", "raw"])
def test_merging_that_begins_later_turns_health_and_is_warned_of_once(fresh, merging, io):
    program = fresh.start_appliance("--io", io, "--workers", 1)
    merging("rx-udp-gro-forwarding", "on")
    wait_until(lambda: fresh.health()[0] == 503, "health tells")
    remedy = "`ethtool -K eth0 rx-udp-gro-forwarding off`"
    assert remedy in fresh.health()[1]
    merging("rx-udp-gro-forwarding", "off")
    wait_until(lambda: fresh.health()[0] == 200, "healthy again")
    assert program.text.count(remedy) == 1


def test_udp_does_not_mind(fresh, merging):
    merging("rx-udp-gro-forwarding", "on")
    fresh.start_appliance("--io", "udp", "--workers", 1)
    assert fresh.health()[0] == 200


# --- a full queue --------------------------------------------------------------------------------


@pytest.fixture
def narrow(fresh):
    """A queueing discipline that holds few packets, but one of the interface's longest."""
    words = ("dev", "eth0", "root")
    fresh.run("appliance", "tc", "qdisc", "replace", *words,
              "tbf", "rate", "4mbit", "burst", "10000", "limit", "10000")  # fmt: skip
    yield
    fresh.run("appliance", "tc", "qdisc", "del", *words)


@pytest.mark.parametrize("io", BACKENDS)
def test_what_a_full_queue_drops_is_not_counted_as_forwarded(fresh, own_gateway, narrow, io):
    fresh.start_appliance(
        "--io", io, "--workers", 1, environment={"SLUICE_QDISC_BYPASS": "false"}
    )
    own_gateway.send(*(request(bytes(400)) for _ in range(300)))
    metrics = wait_until(
        lambda: (now := fresh.quiet_metrics()).total("sluice_packets_received_total") == 300 and now,
        "all are decided",
    )
    forwarded = metrics.total("sluice_packets_forwarded_total")
    assert metrics.dropped() == {"send": 300 - forwarded} and 0 < forwarded < 300
    back = own_gateway.collect(time.monotonic() + GIVE_UP, lambda got: len(got) >= forwarded)
    back += own_gateway.collect(time.monotonic() + 0.2)
    assert len(back) == forwarded


# --- the port has a taker ------------------------------------------------------------------------


def descriptors(pid):
    """Inode of a socket → its descriptors. A process that ends closes them in ascending order."""
    all_of = {}
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if found := re.fullmatch(r"socket:\[(\d+)\]", str(path.readlink())):
                all_of.setdefault(found[1], []).append(int(path.name))
    return all_of


INODE = {"udp": 9, "raw": 9, "packet": 8, "netlink": 9}  # the column of /proc/net/…


def last_closed(pid, table, is_wanted):
    """Of each such socket of the process: its last descriptor, and how many it has."""
    mine = descriptors(pid)
    rows = [line.split() for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]]
    inodes = [row[INODE[table]] for row in rows if is_wanted(row)]
    return [(max(mine[inode]), len(mine[inode])) for inode in inodes if inode in mine]


@pytest.mark.parametrize("io", BACKENDS)
def test_at_exit_the_port_sink_and_the_hook_go_last(fresh, io):
    pid = fresh.start_appliance("--io", io, "--workers", 2).pid
    on_port = last_closed(pid, "udp", lambda row: row[1] == "00000000:17C1")
    (sink,) = [last for last, count in on_port if count == 2]
    takers = {
        "packet": lambda: last_closed(pid, "packet", lambda row: row[3] == "0003"),
        "raw": lambda: last_closed(pid, "raw", lambda row: row[1].endswith(":0011")),
        "udp": lambda: [(last, count) for last, count in on_port if count == 1],
    }[io]()
    assert len(takers) == 2 and sink > max(last for last, _ in takers)
    hooks = last_closed(pid, "netlink", lambda row: row[1] == "12")
    assert len(hooks) == (1 if io == "packet" else 0)
    assert all(hook > max(last for last, _ in takers) for hook, _ in hooks)


@pytest.fixture
def every_icmp(fresh):
    """No limit on how many ICMP errors are sent."""
    name = "net.ipv4.icmp_ratelimit"
    before = fresh.run("appliance", "sysctl", "-n", name).stdout.strip()
    fresh.run("appliance", "sysctl", "-qw", f"{name}=0")
    yield
    fresh.run("appliance", "sysctl", "-qw", f"{name}={before}")


@pytest.mark.parametrize("io", BACKENDS)
def test_from_the_first_taker_of_the_port_on_nothing_is_unreachable(fresh, own_gateway, every_icmp, io):
    program = fresh.start_appliance("--io", io, "--workers", 2, ready=False)

    def is_taken():
        return ":17C1 " in fresh.run("appliance", "cat", "/proc/net/udp").stdout

    wait_until(is_taken, "somebody has the port", every=0)
    before = unreachables(fresh)

    def is_ready():
        own_gateway.send(*(request() for _ in range(20)))
        return "ready" in program.text

    wait_until(is_ready, "the start", every=0.001)
    assert unreachables(fresh) == before


def unreachables(lab):
    lines = lab.run("appliance", "cat", "/proc/net/snmp").stdout.splitlines()
    names, values = [line.split() for line in lines if line.startswith("Icmp:")]
    return int(dict(zip(names, values))["OutDestUnreachs"])
