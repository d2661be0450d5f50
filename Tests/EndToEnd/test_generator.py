"""sluice-gen against the appliance: all that it sends is right, and all that comes back is."""

import collections
import json
import re
import signal
import time

import pytest

from generator import DEVICE, GATEWAYS, TARGET, Link
from lab import BIN, Metrics, wait_until

ALL_CLASSES = (
    "--payload", "neutral=60,drop=10,rewrite=20,tls=5,dns=5", "--mix",
    "udp=60,tcp=20,icmp=10,other=10", "--ipv6", "0.3", "--fragments", "0.1", "--both-directions",
    "--endpoints", 3, "--flows", 500, "--churn", 50, "--size", "128,576,1500",
)  # fmt: skip
COUNTED = {"neutral", "drop", "rewrite", "dns", "tcp", "icmp", "other", "fragment"}


class Bench:
    """The generator on one end of a link, the appliance on the other."""

    def __init__(self, directory):
        self.directory = directory
        self.link = Link(directory)

    def appliance(self, *arguments):
        program = self.link.start(
            "box", BIN / "sluice", "run", "--io", "udp", "--workers", 1,
            "--health", f"{TARGET}:8080", "--drain-minimum", 1, *arguments,
        )  # fmt: skip
        return program.wait_for("ready")

    def metrics(self):
        page = self.link.run("load", "curl", "-sf", f"http://{TARGET}:8080/metrics")
        return Metrics(page.stdout)

    def arguments(self, *arguments):
        words = [BIN / "sluice-gen", "run", "--interface", DEVICE, "--target", TARGET]
        words += [] if "--source" in arguments else ["--source", ",".join(GATEWAYS)]
        return [*words, *arguments]

    def load(self, *arguments, host="load", prefix=()):
        words = [*prefix, *self.arguments(*arguments)]
        return self.link.run(host, *words, check=False, timeout=200)

    def report(self, *arguments):
        file = self.directory / f"load-{self.link.next_number()}.json"
        done = self.load("--json", file, *arguments)
        return done, json.loads(file.read_text())


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    bench = Bench(tmp_path_factory.mktemp("load"))
    yield bench
    bench.link.close()


@pytest.fixture(scope="module")
def appliance(bench):
    program = bench.appliance()
    yield program
    program.kill()


# --- what is sent ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def captured(bench, appliance):
    """A run with every class, seen at the appliance's end: exit code, report, capture, metrics."""
    file = bench.directory / "sent.pcap"
    before = bench.metrics()
    sniffer = bench.link.start(
        "box", "tcpdump", "-i", DEVICE, "-Q", "in", "-B", "65536", "-w", file, "-U",
        "udp port 6081 or (ip[6:2] & 0x3fff != 0)",
    ).wait_for("listening")  # fmt: skip
    done, report = bench.report(
        "--rate", "2kpps", "--duration", "3s", "--expect", "blog", *ALL_CLASSES
    )
    size = -1
    while size != file.stat().st_size:  # tcpdump still writes
        size = file.stat().st_size
        time.sleep(1)
    assert sniffer.stop(signal.SIGINT) == 0, sniffer.text
    return done, report, file, before, bench.metrics()


def test_all_classes_come_back_as_expected(captured):
    done, report, _, _, _ = captured
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert report["sent"] == 6000
    assert not any(report["violations"].values()), report["violations"]
    assert report["lost"] == 0 and report["loss"] == 0
    assert set(report["classes"]) == COUNTED
    for name, count in report["classes"].items():
        assert count["sent"] == count["received"] + count["expected_drops"], name
    classes = report["classes"]
    assert classes["drop"]["received"] == 0 and classes["drop"]["expected_drops"] > 100
    assert classes["icmp"]["expected_drops"] > 20
    assert "violations none" in said
    latency = report["latency_ns"]
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["p999"] <= latency["max"]
    assert latency["samples"] == report["received"]
    # A line of progress each second, and nothing that moves the cursor: this is no terminal.
    lines = done.stderr.splitlines()
    assert len(lines) >= 2 and all("latency p50" in line for line in lines), done.stderr
    assert "\r" not in done.stderr


def test_the_counters_of_both_agree(captured):
    _, report, _, before, after = captured

    def counted(name, **labels):
        return after.total(name, **labels) - before.total(name, **labels)

    assert counted("sluice_packets_received_total") == report["sent"]
    assert counted("sluice_packets_forwarded_total") == report["received"]
    assert counted("sluice_packets_dropped_total", reason="rule") == report["expected_drops"]
    assert counted("sluice_packets_rewritten_total") == report["classes"]["rewrite"]["received"]


def test_tshark_finds_nothing_malformed(bench, captured):
    _, report, file, _, _ = captured
    fields = ("geneve.option.class", "geneve.option.type", "ip.ttl", "udp.srcport", "ip.src")
    words = [word for field in fields for word in ("-e", field)]
    done = bench.link.run("box", "tshark", "-r", file, "-T", "fields", *words)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert len(rows) == report["sent"]
    for classes, types, ttl, _, source in rows:
        assert classes == "0x0108,0x0108,0x0108"
        assert types in ("0x01,0x02,0x03", "1,2,3")
        assert ttl.split(",")[0] == "255"
        assert source.split(",")[0] in GATEWAYS
    bad = bench.link.run(
        "box", "tshark", "-r", file, "-o", "udp.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE",
        "-o", "ip.check_checksum:TRUE", "-Y",
        "_ws.malformed or ip.checksum.status == 0 or udp.checksum.status == 0 "
        "or tcp.checksum.status == 0 or icmp.checksum.status == 0 or icmpv6.checksum.status == 0",
    )  # fmt: skip
    assert bad.stdout == ""


def test_a_flow_has_one_port_and_cookie_in_both_directions(bench, captured):
    _, _, file, _, _ = captured
    fields = ("udp.srcport", "geneve.options", "ip.src", "ip.dst")
    words = [word for field in fields for word in ("-e", field)]
    done = bench.link.run("box", "tshark", "-r", file, "-Y", "!ipv6", "-T", "fields", *words)
    headers = collections.defaultdict(set)
    directions = collections.defaultdict(set)
    for line in done.stdout.splitlines():
        port, _, sources, destinations = line.split("\t")
        inner = (sources.split(",")[1], destinations.split(",")[1])
        key = frozenset(inner)
        headers[key].add((port.split(",")[0], sources.split(",")[0]))
        directions[key].add(inner)
    assert len(headers) > 200
    assert all(len(seen) == 1 for seen in headers.values())
    assert sum(len(seen) == 2 for seen in directions.values()) > 100


# --- what else it can -----------------------------------------------------------------------------


def test_malformed_packets_are_dropped_or_pass_as_they_should(bench, appliance):
    done, report = bench.report(
        "--rate", "2kpps", "--duration", "2s", "--expect", "blog", "--malformed", "50%"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    malformed = report["classes"]["malformed"]
    assert malformed["sent"] > 1500
    assert malformed["received"] > 100 and malformed["expected_drops"] > 1000
    assert malformed["sent"] == malformed["received"] + malformed["expected_drops"]


def test_a_capture_is_replayed(bench, appliance, captured):
    file = captured[2]
    done, report = bench.report("--replay", file, "--count", 9000, "--rate", "5kpps", "--expect", "blog")
    assert done.returncode == 0, done.stdout + done.stderr
    replay = report["classes"]["replay"]
    assert replay["sent"] == 9000
    # The first 6000 are those of the run, and have the same fate.
    assert replay["expected_drops"] >= captured[1]["expected_drops"]
    assert replay["sent"] == replay["received"] + replay["expected_drops"]


def test_what_a_fifo_gives_is_replayed_and_a_fifo_takes_the_report(bench, appliance, captured):
    words = bench.arguments("--count", 3000, "--rate", "5kpps", "--expect", "blog")
    script = 'cat=$1; shift; "$@" --replay <(cat "$cat") --json >(cat >"$cat.json"; echo >"$cat.end")'
    done = bench.link.run("load", "bash", "-c", script, "bash", captured[2], *words, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    wait_until(captured[2].with_suffix(".pcap.end").exists, "the end of the report")
    report = json.loads(captured[2].with_suffix(".pcap.json").read_text())
    assert report["classes"]["replay"]["sent"] == 3000


@pytest.mark.parametrize(
    "traffic",
    [
        ("--threads", 3, "--flows", 300),
        ("--zipf", 1.1, "--flows", "1m"),
        ("--size", "imix", "--outer-checksum", "zero"),
        ("--size", "64-8500", "--ipv6", 1),
        ("--payload", "random=1,neutral=1", "--flows", 1),
    ],
    ids=lambda words: " ".join(map(str, words)),
)
def test_other_traffic_comes_back_as_expected(bench, appliance, traffic):
    done, report = bench.report("--rate", "2kpps", "--duration", "1s", "--expect", "blog", *traffic)
    assert done.returncode == 0, done.stdout + done.stderr
    assert report["sent"] == 2000


@pytest.mark.parametrize(
    "flags,sent",
    [
        (("--rate", "500", "--duration", "2s"), 1000),
        (("--count", 777, "--rate", "2kpps"), 777),
        (("--rate", "2mbps", "--size", 182, "--duration", "2s"), 2000),
        (("--ramp", "100..900", "--duration", "2s"), 1000),
        (("--steps", "200,600", "--duration", "2s"), 800),
    ],
)
def test_loads_send_what_they_say(bench, appliance, flags, sent):
    done, report = bench.report("--mix", "udp", *flags)
    assert done.returncode == 0, done.stdout + done.stderr
    assert report["sent"] == report["received"] == sent


def test_flat_out_says_who_was_the_limit(bench, appliance):
    done, report = bench.report("--rate", "max", "--duration", "1s", "--mix", "udp", "--max-loss", 1)
    assert done.returncode == 0, done.stdout + done.stderr
    assert report["sent"] > 1000
    assert report["generator_limited"] or report["lost"] > 0
    assert report["generator_limited"] == bool(report["limits"])


def test_a_signal_ends_it_with_its_report(bench, appliance):
    file = bench.directory / "stopped.json"
    for number in (signal.SIGINT, signal.SIGTERM):
        words = bench.arguments("--rate", "1kpps", "--mix", "udp", "--duration", "1h", "--json", file)
        program = bench.link.start("load", *words)
        wait_until(lambda: "latency" in program.text, "the first line of progress")
        assert program.stop(number) == 0, program.text
        report = json.loads(file.read_text())
        assert report["sent"] == report["received"] > 500
        assert "violations none" in program.stdout.read_text()


def test_standard_output_takes_the_report_alone(bench, appliance):
    done = bench.load("--rate", "1kpps", "--mix", "udp", "--duration", "1s", "--json", "-")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["sent"] == 1000 and set(report["about"]) == {"date", "host", "kernel", "version"}
    assert "violations none" in done.stderr


def test_lost_pings_suggest_the_policy(bench, appliance):
    done = bench.load("--rate", "1kpps", "--mix", "udp=1,icmp=1", "--duration", "1s")
    assert done.returncode == 1
    assert "only pings were lost" in done.stderr and "--expect blog" in done.stderr, done.stderr


def test_a_permanent_neighbour_needs_no_arp(bench, appliance):
    """The box is silent to ARP; what `ip neigh` was told stands in for its answer."""
    bench.link.run("box", "sysctl", "-qw", "net.ipv4.conf.all.arp_ignore=8")
    address = bench.link.run("box", "cat", f"/sys/class/net/{DEVICE}/address").stdout.strip()
    entry = ("ip", "neigh", "replace", TARGET, "dev", DEVICE)
    try:
        bench.link.run("load", "ip", "neigh", "flush", "dev", DEVICE)
        refused(bench.load("--duration", "1s"), 71, f"no answer from {TARGET} to ARP.*nud permanent")
        bench.link.run("load", *entry, "lladdr", address, "nud", "permanent")
        done, report = bench.report("--rate", "1kpps", "--mix", "udp", "--duration", "1s")
        assert done.returncode == 0, done.stdout + done.stderr
        assert report["received"] == 1000
    finally:
        bench.link.run("load", "ip", "neigh", "del", TARGET, "dev", DEVICE, check=False)
        bench.link.run("box", "sysctl", "-qw", "net.ipv4.conf.all.arp_ignore=0")


# --- errors ---------------------------------------------------------------------------------------


def refused(done, code, words):
    lines = done.stderr.splitlines()
    assert done.returncode == code, (done.returncode, done.stderr)
    assert len(lines) == 1 and lines[0].startswith("sluice-gen: "), done.stderr
    assert re.search(words, lines[0]), lines[0]
    assert done.stdout == ""


@pytest.mark.parametrize(
    "flags,words",
    [
        (("--rate", "fast"), "--rate.*200kpps.*fast"),
        (("--size", "9000"), "--size.*64 to 8500"),
        (("--size", "10"), "--size"),
        (("--mix", "sctp=1"), "--mix"),
        (("--payload", "file:/nonexistent"), "--payload.*/nonexistent"),
        (("--replay", "/nonexistent.pcap"), "--replay.*nonexistent"),
        (("--replay", "x.pcap", "--flows", "3"), "--flows does not go with --replay"),
        (("--expect", "drop"), "--expect.*blog or reflect"),
        (("--flows", "11m"), "--flows.*10000000"),
        (("--ipv6", "2"), "--ipv6.*share"),
        (("--rate", "1kpps", "--ramp", "1..2"), "--rate, --ramp and --steps"),
        (("--source", "192.168.30.99"), "192.168.30.99 is no address.*ip address add"),
        (("--source", "192.168.30.10,192.168.30.10"), "twice"),
        (("--nonsense",), "nonsense"),
        (("--threads", "5", "--flows", "3"), "5 threads for 3 flows"),
    ],
)
def test_bad_usage_is_one_line(bench, flags, words):
    refused(bench.load(*flags, "--duration", "1s"), 64, words)


@pytest.mark.parametrize("target", ["localhost", "1.2.3", "224.0.0.1", "0.0.0.0", "::1"])
def test_an_unresolvable_target_is_one_line(bench, target):
    refused(bench.load("--target", target), 64, f"--target.*{re.escape(target)}")


def test_our_own_address_is_no_target(bench):
    refused(bench.load("--target", GATEWAYS[0]), 64, "own address")


def test_an_answer_to_arp_must_come(bench):
    refused(bench.load("--target", "192.168.30.77"), 71, "no answer from 192.168.30.77 to ARP")


def test_the_interface_must_be_there_and_up(bench):
    refused(bench.load("--interface", "eth9"), 71, "no interface eth9.*ip link")
    refused(bench.load("--interface", "lo", "--source", "127.0.0.1"), 64, "not Ethernet")
    bench.link.run("load", "ip", "link", "add", "down0", "type", "veth", "peer", "name", "down1")
    refused(bench.load("--interface", "down0"), 71, "down0 is down.*ip link set down0 up")
    bench.link.run("load", "ip", "link", "del", "down0")


def test_the_mtu_must_fit_the_sizes(bench):
    bench.link.run("load", "ip", "link", "set", DEVICE, "mtu", "1500")
    try:
        refused(bench.load("--size", "1500"), 71, "MTU 1500.*1568.*ip link set")
    finally:
        bench.link.run("load", "ip", "link", "set", DEVICE, "mtu", "9001")


def test_privilege_must_be_there(bench, appliance):
    done = bench.load("--duration", "1s", prefix=("setpriv", "--reuid=65534", "--clear-groups",
                                                  "--inh-caps=-all", "--bounding-set=-all"))  # fmt: skip
    refused(done, 77, "run as root")


def test_a_report_that_cannot_be_written_is_said_before_the_run(bench, appliance):
    refused(bench.load("--duration", "1s", "--json", "/nonexistent/x.json"), 71, "/nonexistent/x.json")


def test_the_port_must_be_free(bench, appliance):
    with_port = bench.link.start(
        "load", "python3", "-c",
        "import socket, time; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
        "s.bind(('', 6081)); print('bound', flush=True); time.sleep(60)",
    )  # fmt: skip
    try:
        wait_until(lambda: "bound" in with_port.stdout.read_text(), "the port to be taken")
        refused(bench.load("--duration", "1s"), 71, "6081 is taken")
    finally:
        with_port.kill()
