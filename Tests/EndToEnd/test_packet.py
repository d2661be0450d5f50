"""What the backend `packet` does to the host that it runs on, and what it leaves behind: nothing."""

import contextlib
import re
import signal
import socket
import time
from pathlib import Path

import pytest

from lab import ADDRESS, BIN, check_refusal, refused, run, wait_until
from packets import Outer, fragments, geneve, outer, udp4

WITHOUT_ADMIN = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
SECOND = ("192.168.30.5", "192.168.30.10")  # ours and the gateway's end of a second cable
PACKET_OUTGOING = 4


def ip(lab, host, *words):
    return run("ip", "-n", lab.namespace(host), *words)


def rules(lab):
    return lab.run("appliance", "nft", "list", "ruleset").stdout


def residue(lab):
    """What a program could leave on its host: rules, addresses, routes, devices, filters."""
    host = lab.namespace("appliance")
    return [rules(lab)] + [
        run("ip", "-n", host, *what, check=False).stdout
        for what in (("-br", "addr"), ("route", "show", "table", "all"), ("rule",))
    ] + [run("tc", "-n", host, "qdisc", "show").stdout]


def udp_counters(lab):
    """/proc/net/snmp: what the stack's UDP has seen."""
    lines = lab.run("appliance", "cat", "/proc/net/snmp").stdout.splitlines()
    names, values = [line.split()[1:] for line in lines if line.startswith("Udp:")]
    return dict(zip(names, map(int, values)))


def stack_saw(lab):
    counters = udp_counters(lab)
    return counters["InDatagrams"] + counters["NoPorts"] + counters["InErrors"]


# --- nothing stays -------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_hook_and_all_else_go_with_the_process(fresh, own_gateway, how):
    before = residue(fresh)
    program = fresh.start_appliance("--io", "packet", "--workers", 2, "--drain-minimum", 0)
    during = rules(fresh)
    assert f"table netdev sluice-{program.pid}" in during and '"eth0"' in during
    own_gateway.ask(outer(geneve(udp4(b"while it runs"))))
    program.send_signal(how)
    program.wait()
    wait_until(lambda: residue(fresh) == before, f"the host is as it was, after {how.name}")


def test_a_refused_start_leaves_nothing(fresh):
    before = residue(fresh)
    with fresh.socket("appliance", ("0.0.0.0", 6081)):
        check_refusal(refused(fresh, "--io", "packet"), 71, "6081")
    check_refusal(refused(fresh, "--io", "packet", "--address", "8.8.8.8"), 71, "8.8.8.8")
    check_refusal(refused(fresh, "--io", "packet", "--workers", 1000), 78, "MiB")
    wait_until(lambda: residue(fresh) == before, "the host is as it was")


# --- the choice ----------------------------------------------------------------------------------


def test_auto_is_packet_where_that_is_permitted(fresh, own_gateway):
    program = fresh.start_appliance("--workers", 1)
    assert "io auto: packet" in program.text
    assert 'io="packet"' in fresh.metrics().text
    own_gateway.ask(outer(geneve(udp4(b"by packet"))))


def test_auto_is_udp_without_the_right_to_hook_and_says_why(fresh, own_gateway):
    program = fresh.start_appliance("--workers", 1, prefix=WITHOUT_ADMIN)
    assert re.search(r"io auto: udp, since .*nf_tables.*Operation not permitted", program.text)
    assert 'io="udp"' in fresh.metrics().text
    own_gateway.ask(outer(geneve(udp4(b"by udp"))))


def test_packet_without_the_right_to_hook_is_77(fresh):
    program = fresh.start("appliance", BIN / "sluice", "run", "--io", "packet", prefix=WITHOUT_ADMIN)
    check_refusal(program, 77, "CAP_NET_ADMIN")


def test_an_interface_that_is_not_ethernet_is_refused(fresh):
    namespace = fresh.namespace("appliance")
    run("ip", "-n", namespace, "tuntap", "add", "dev", "tun9", "mode", "tun")
    try:
        run("ip", "-n", namespace, "link", "set", "tun9", "up")
        check_refusal(refused(fresh, "--io", "packet", "--interface", "tun9"), 64, "tun9")
    finally:
        run("ip", "-n", namespace, "link", "del", "tun9")


def test_every_worker_says_where_it_is(fresh):
    program = fresh.start_appliance("--io", "packet", "--workers", 2)
    for worker in range(2):
        assert re.search(
            rf"worker {worker}: cpu \d+, node \d+, ring \d+ KiB, tables \d+ KiB, slots of 9216 bytes, "
            r"(huge|small) pages, packet on eth0, steered by flow",
            program.text,
        ), program.text


# --- the rest of the host ------------------------------------------------------------------------


def test_the_stack_sees_no_geneve_packet(fresh, own_gateway):
    fresh.start_appliance("--io", "packet", "--workers", 2)
    own_gateway.ask(outer(geneve(udp4(b"first"))))
    before = stack_saw(fresh)
    packets = [outer(geneve(udp4(b"hidden", sport=index + 1))) for index in range(500)]
    assert len(own_gateway.exchange(*packets, answers=500)) == 500
    assert stack_saw(fresh) == before
    own_gateway.check_silence()


def test_fragments_leave_nothing_in_the_stacks_queues(fresh, own_gateway):
    fresh.start_appliance("--io", "packet", "--workers", 2)
    for index in range(50):
        whole = outer(geneve(udp4(b"f" * 4000, sport=index + 1)), ident=index + 1)
        assert len(own_gateway.exchange(*fragments(whole), answers=1)) == 1
    assert "FRAG: inuse 0 memory 0" in fresh.run("appliance", "cat", "/proc/net/sockstat").stdout
    own_gateway.check_silence()


def test_other_udp_traffic_and_other_rules_are_untouched(fresh, own_gateway):
    fresh.run("appliance", "nft", "add table netdev theirs; add chain netdev theirs c "
              "{ type filter hook ingress device eth0 priority 0; }; "
              "add rule netdev theirs c udp dport 7777 counter")  # fmt: skip
    try:
        before = rules(fresh)
        program = fresh.start_appliance("--io", "packet", "--workers", 2)
        with (
            fresh.socket("appliance", (ADDRESS, 7777)) as server,
            fresh.socket("gwlb", ("192.168.20.10", 6081 + 1)) as client,
        ):
            for size in (10, 1400, 30_000):  # the last in fragments
                message = bytes(size)
                client.sendto(message, (ADDRESS, 7777))
                assert server.recv(65536) == message
                server.sendto(message, client.getsockname())
                assert client.recv(65536) == message
        own_gateway.ask(outer(geneve(udp4(b"all the same"))))
        program.stop()
        wait_until(lambda: "sluice" not in rules(fresh), "the hook goes")
        # Their counter has counted; nothing else is different.
        same = re.compile(r"counter packets \d+ bytes \d+")
        assert same.sub("", rules(fresh)) == same.sub("", before)
    finally:
        fresh.run("appliance", "nft", "delete table netdev theirs")


def test_frames_for_others_and_tagged_ones_are_not_answered(fresh, own_gateway):
    fresh.start_appliance("--io", "packet", "--workers", 2)
    packet = outer(geneve(udp4(b"not yours")))
    for mac in (b"\2\0\0\0\0\x99", b"\xff" * 6, b"\1\0\x5e\0\0\1"):
        own_gateway.refused(packet, mac=mac)
    own_gateway.tap.send(own_gateway.there + own_gateway.here + b"\x81\0\0\x0a\x08\0" + packet)
    own_gateway.refused()
    own_gateway.check_silence()


# --- following the host --------------------------------------------------------------------------


def test_address_changes_are_followed(fresh, own_gateway):
    fresh.start_appliance("--io", "packet", "--workers", 2)
    added = "192.168.20.77"
    packet = outer(geneve(udp4(b"to the new one")), destination=added)
    own_gateway.refused(packet)
    ip(fresh, "appliance", "addr", "add", f"{added}/24", "dev", "eth0")
    try:
        wait_until(lambda: own_gateway.answers(added), "the new address is served")
        before = stack_saw(fresh)
        assert len(own_gateway.exchange(packet, answers=1)) == 1
        assert stack_saw(fresh) == before, "the hook follows, too"
    finally:
        ip(fresh, "appliance", "addr", "del", f"{added}/24", "dev", "eth0")
    wait_until(lambda: not own_gateway.answers(added), "it is served no longer")
    own_gateway.ask(outer(geneve(udp4(b"the others are"))))


def test_address_restricts_what_is_ours(fresh, own_gateway):
    fresh.start_appliance("--io", "packet", "--address", ADDRESS)
    own_gateway.ask(outer(geneve(udp4(b"mine"))))
    own_gateway.refused(outer(geneve(udp4(b"not mine")), destination="192.168.20.6"))
    own_gateway.check_silence()


@pytest.fixture
def second_cable(fresh):
    """eth1 of the appliance and to-appliance-1 of the gateway."""
    ours, theirs = (fresh.namespace(host) for host in ("appliance", "gwlb"))
    run("ip", "link", "add", "eth1", "netns", ours, "mtu", 9001,
        "type", "veth", "peer", "name", "to-appliance-1", "netns", theirs, "mtu", 9001)  # fmt: skip
    for host, device, address in (
        ("appliance", "eth1", SECOND[0]),
        ("gwlb", "to-appliance-1", SECOND[1]),
    ):
        ip(fresh, host, "addr", "add", f"{address}/24", "dev", device)
        ip(fresh, host, "link", "set", device, "up")
    yield
    run("ip", "-n", ours, "link", "del", "eth1", check=False)


def ask_second(lab, give_up=10):
    """Sends a Geneve datagram by the second cable; the payload that comes back, or None."""
    with lab.socket("gwlb", (SECOND[1], 6081)) as sock:
        sock.settimeout(give_up)
        sock.sendto(geneve(udp4(b"by the second cable")), (SECOND[0], 6081))
        try:
            return sock.recv(65536)
        except TimeoutError:
            return None


def test_two_interfaces(fresh, second_cable, own_gateway):
    program = fresh.start_appliance(
        "--io", "packet", "--workers", 2,
        "--interface", "eth0", "--interface", "eth1", "--interface", "eth0",
    )
    assert "packet on eth0, eth1" in program.text
    own_gateway.ask(outer(geneve(udp4(b"by the first"))))
    assert ask_second(fresh) == geneve(udp4(b"by the second cable"))


def test_the_interface_of_the_address_is_served_and_no_other(fresh, second_cable, own_gateway):
    program = fresh.start_appliance("--io", "packet", "--workers", 1, "--address", SECOND[0])
    assert "packet on eth1" in program.text
    assert ask_second(fresh) == geneve(udp4(b"by the second cable"))
    own_gateway.send(outer(geneve(udp4(b"to the first"))))
    assert own_gateway.collect(time.monotonic() + 1) == []
    own_gateway.check_silence()


@pytest.mark.parametrize("how", [(), ("--busy-poll",)])
def test_an_interface_that_goes_turns_health_to_503(fresh, second_cable, how):
    fresh.start_appliance("--io", "packet", "--workers", 2, "--interface", "eth1", *how)
    ip(fresh, "appliance", "link", "set", "eth1", "down")
    time.sleep(2)
    assert fresh.health()[0] == 200, "being down is no fault of ours"
    ip(fresh, "appliance", "link", "set", "eth1", "up")
    wait_until(lambda: ask_second(fresh, 1), "packets flow again")
    ip(fresh, "appliance", "link", "del", "eth1")
    wait_until(lambda: fresh.health()[0] == 503, "health turns 503")


# --- frames --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1500, 8500, 8933])
def test_jumbo_frames_up_to_the_mtu(fresh, own_gateway, size):
    fresh.start_appliance("--io", "packet", "--workers", 1, environment={"SLUICE_MTU": "8933"})
    reply = own_gateway.ask(outer(geneve(udp4(b"j" * (size - 28)))))
    assert len(reply.inner) == size


def test_a_partial_checksum_is_completed(fresh, own_gateway):
    """A sender whose checksums its network card would complete: here, nobody does."""
    fresh.run("gwlb", "ethtool", "-K", "to-appliance", "tx", "on")
    try:
        fresh.start_appliance("--io", "packet", "--workers", 1)
        for inner in (udp4(b"as it is"), udp4(b"weakly typed", dport=3000)):
            # Not bound to 6081: what comes back goes to that port, where the sink and the tap are.
            with fresh.socket("gwlb", ("192.168.20.10", 0)) as sock:
                sock.sendto(geneve(inner), (ADDRESS, 6081))
                port = sock.getsockname()[1]
                (reply,) = own_gateway.collect(
                    time.monotonic() + 10, lambda got: any(one.sport == port for one in got)
                )
            assert reply.udp_checksum != 0 and reply.udp_is_valid
    finally:
        fresh.run("gwlb", "ethtool", "-K", "to-appliance", "tx", "off")


@pytest.mark.parametrize("bypass", ["true", "false"])
def test_local_taps_see_the_answers_unless_the_qdisc_is_bypassed(fresh, own_gateway, bypass):
    fresh.start_appliance("--io", "packet", "--workers", 1,
                          environment={"SLUICE_QDISC_BYPASS": bypass})  # fmt: skip
    with fresh.inside("appliance"):
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    tap.bind(("eth0", 3))
    tap.settimeout(1)
    own_gateway.ask(outer(geneve(udp4(b"seen or not"))))
    seen = []
    with contextlib.suppress(TimeoutError):
        while True:
            frame, source = tap.recvfrom(65536)
            if source[2] == PACKET_OUTGOING and b"seen or not" in frame:
                seen.append(Outer.parse(frame[14:]))
    tap.close()
    assert len(seen) == (1 if bypass == "false" else 0)


# --- steering and sleep --------------------------------------------------------------------------


@pytest.mark.parametrize("io", ["packet", "udp"])
def test_steering_by_cpu_loses_nothing(fresh, own_gateway, io):
    program = fresh.start_appliance("--io", io, "--workers", 2, "--steer", "cpu")
    assert "steered by cpu" in program.text
    packets = [outer(geneve(udp4(b"any worker", sport=index + 1))) for index in range(300)]
    assert len(own_gateway.exchange(*packets, answers=300)) == 300


def test_steering_by_cpu_is_refused_with_raw(fresh):
    check_refusal(refused(fresh, "--io", "raw", "--steer", "cpu"), 64, "--steer cpu")


def test_idle_workers_sleep(fresh):
    program = fresh.start_appliance("--io", "packet", "--workers", 2)
    threads = [thread for name, thread in program.threads().items() if name.startswith("sluice-w")]

    def sleeps(thread):
        status = Path(f"/proc/{program.pid}/task/{thread}/status").read_text()
        return int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status, re.M)[1])

    def busy(thread):
        fields = Path(f"/proc/{program.pid}/task/{thread}/stat").read_text().rsplit(") ", 1)[1].split()
        return int(fields[11]) + int(fields[12])

    before = {thread: (sleeps(thread), busy(thread)) for thread in threads}
    time.sleep(5)
    for thread in threads:
        # It wakes 4 times a second; a tick is 10 ms.
        assert 5 <= sleeps(thread) - before[thread][0] <= 100
        assert busy(thread) - before[thread][1] <= 2
