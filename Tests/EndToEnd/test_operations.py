"""Health, drain, metrics, HTTP robustness, privileges and mistakes."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from conftest import BACKENDS
from lab import ADDRESS, BIN, HEALTH_PORT, check_refusal, refused, run, wait_until
from packets import geneve, outer, udp4
from threads import stopped

PROBE_LIMIT = 2  # seconds; GWLB's own timeout is at least that


@pytest.fixture
def running(fresh):
    return fresh.start_appliance("--io", "udp", "--workers", 2)


# --- health --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/health", "/"])
def test_health_is_200_with_a_json_body(fresh, running, path):
    code, body = fresh.http(path)
    assert code == 200
    assert isinstance(json.loads(body), dict)


@pytest.mark.parametrize("io", BACKENDS)
def test_a_wedged_worker_turns_health_to_503_and_back(fresh, io):
    program = fresh.start_appliance("--io", io, "--workers", 2)
    for worker in ("sluice-w0", "sluice-w1"):
        with stopped(program.threads()[worker]):
            code, body = wait_until(
                lambda: (reply := fresh.health())[0] == 503 and reply, "health turns 503"
            )
            assert json.loads(body), "the body names the reason"
        wait_until(lambda: fresh.health()[0] == 200, "health turns 200 again")


def tcp_accepts(lab, port):
    try:
        lab.connect(port, timeout=2).close()
        return True
    except OSError:
        return False


def test_health_tcp_listens_only_while_healthy(fresh):
    program = fresh.start_appliance("--io", "udp", "--workers", 1, "--health-tcp", "0.0.0.0:8081")
    wait_until(lambda: tcp_accepts(fresh, 8081), "the TCP health port listens")
    with stopped(program.threads()["sluice-w0"]):
        wait_until(lambda: not tcp_accepts(fresh, 8081), "the TCP health port closes")
        assert tcp_accepts(fresh, HEALTH_PORT), "the HTTP port still tells why"
    wait_until(lambda: tcp_accepts(fresh, 8081), "the TCP health port listens again")


# --- drain and stop ------------------------------------------------------------------------------


@pytest.mark.parametrize("io", BACKENDS)
def test_sigterm_drains(fresh, own_gateway, io):
    """Health turns 503 at once, packets keep flowing, the end comes when they cease."""
    idle = {"SLUICE_DRAIN_IDLE": "1"}
    program = fresh.start_appliance(
        "--io", io, "--drain-minimum", 2, "--drain-timeout", 120, environment=idle
    )
    began = time.monotonic()
    program.send_signal(signal.SIGTERM)
    wait_until(lambda: fresh.health()[0] == 503, "health turns 503")
    assert fresh.metrics().total("sluice_draining") == 1
    while time.monotonic() < began + 5:
        assert own_gateway.answers(), "packets flow while draining"
        time.sleep(0.1)
    assert program.running, "packets come, so it stays past the minimum"
    assert program.wait() == 0
    assert time.monotonic() - began >= 5


def test_other_signals_end_nothing(fresh, running):
    for number in (signal.SIGUSR2, signal.SIGALRM, signal.SIGUSR1):
        running.send_signal(number)
    wait_until(lambda: "status: udp, 2 workers: " in running.text, "SIGUSR1 logs a status line")
    assert fresh.health()[0] == 200
    assert running.running


def test_a_long_log_line_keeps_its_end(fresh, tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text("policy: {}\n" + "".join(f"unknown-{i}-{'x' * 900}: 1\n" for i in range(9)))
    checked = run(BIN / "sluice", "check", path, check=False)
    assert checked.returncode == 78
    assert checked.stderr.endswith("\n") and len(checked.stderr.splitlines()) == 9


def test_a_full_disk_is_told(tmp_path):
    path = tmp_path / "right.yaml"
    path.write_text("policy: {}\n")
    with open("/dev/full", "w") as full:
        checked = subprocess.run(
            [BIN / "sluice", "check", path], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert checked.returncode == 71
    assert "cannot write to standard output" in checked.stderr


def test_drain_ends_at_its_timeout_though_packets_come(fresh, own_gateway):
    program = fresh.start_appliance("--io", "udp", "--drain-minimum", 1, "--drain-timeout", 3)
    program.send_signal(signal.SIGTERM)
    packet = outer(geneve(udp4(b"on and on")))

    def ended():
        own_gateway.send(packet)
        return not program.running

    wait_until(ended, "the drain timeout ends the process")
    assert program.wait() == 0


def test_drain_lasts_its_minimum_without_packets(fresh):
    idle = {"SLUICE_DRAIN_IDLE": "0"}
    program = fresh.start_appliance("--drain-minimum", 3, "--drain-timeout", 60, environment=idle)
    began = time.monotonic()
    assert program.stop(signal.SIGTERM) == 0
    assert time.monotonic() - began >= 3


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_stops_at_once(fresh, second):
    program = fresh.start_appliance("--drain-minimum", 600, "--drain-timeout", 600)
    program.send_signal(signal.SIGTERM)
    wait_until(lambda: fresh.health()[0] == 503, "health turns 503")
    assert program.stop(second) == 0


def test_sigint_stops_at_once(fresh):
    program = fresh.start_appliance("--drain-minimum", 600, "--drain-timeout", 600)
    assert program.stop(signal.SIGINT) == 0


@pytest.mark.parametrize("io", BACKENDS)
def test_no_icmp_leaves_while_stopping(fresh, own_gateway, io):
    """GWLB never stops sending, and the sink goes last: with the process, not before."""
    program = fresh.start_appliance("--io", io, "--workers", 2)
    packet = outer(geneve(udp4(b"all the time")))
    own_gateway.icmp.clear()
    program.send_signal(signal.SIGTERM)
    while program.running:
        own_gateway.send(packet)
        own_gateway.collect(time.monotonic() + 0.01)
        if own_gateway.icmp:
            # An ICMP of the kernel's own, if the process is just ending; a fault, if it lives on.
            time.sleep(1)
            assert not program.running, "ICMP while the process lives"
    assert program.wait() == 0


# --- metrics and status --------------------------------------------------------------------------

# The names that users rely on, without the prefix; counters with their suffix.
NAMES = """
    packets_received_total bytes_received_total packets_forwarded_total bytes_forwarded_total
    packets_dropped_total packets_rewritten_total kernel_drops_total send_retries_total flows_live
    flows_created_total flows_expired_total flows_evicted_total worker_heartbeat_age_seconds
    draining build_info
""".split()
# Those belong to parts that come with a config file, endpoints' policies or a real NIC.
LATER_NAMES = """
    rule_hits_total endpoint_packets_total flow_cookie_changes_total burst_packets
    worker_busy_ratio config_generation config_reloads_total config_last_reload_success
    nic_allowance_exceeded nic_allowance_exceeded_total
    config_info config_last_reload_timestamp_seconds flows_capacity healthy policy_memory_bytes
    reload_duration_seconds
""".split()
# Beyond the appendix; a new one is entered here and in CHANGELOG.
ADDED_NAMES = ["receive_errors_total", "events_emitted_total", "events_lost_total", "unclaimed_packets_total"]
REASONS = """
    outer_malformed outer_checksum source_not_allowed outer_ttl geneve_malformed geneve_version
    geneve_control geneve_critical_option geneve_protocol aws_options inner_malformed inner_header_checksum rule
    default processor fragment unknown_tcp flow_table_full too_big send
""".split()
HISTOGRAM_SUFFIXES = ("_bucket", "_sum", "_count")


def bare(name):
    name = name.removeprefix("sluice_")
    for suffix in HISTOGRAM_SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def test_promtool_accepts_the_metrics(fresh, running):
    checked = run("promtool", "check", "metrics", input=fresh.metrics().text, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert checked.stdout + checked.stderr == ""


def test_the_metrics_have_their_names_and_labels(fresh, running):
    metrics = fresh.metrics()
    ours = {bare(name) for name in metrics.names if name.startswith("sluice_")}
    assert set(NAMES) <= ours, set(NAMES) - ours
    strangers = ours - set(NAMES + LATER_NAMES + ADDED_NAMES)
    assert not strangers, strangers
    assert {"process_cpu_seconds_total", "process_resident_memory_bytes"} <= metrics.names
    reasons = set(metrics.by("sluice_packets_dropped_total", "reason"))
    assert reasons <= set(REASONS), reasons - set(REASONS)
    assert set(metrics.by("sluice_packets_received_total", "worker")) == {"0", "1"}
    build = dict(next(iter(metrics.samples["sluice_build_info"])))
    assert build["io"] == "udp" and build["version"] and build["swift"]


def numbers_of(document):
    """All numbers in a JSON document."""
    if isinstance(document, dict):
        document = list(document.values())
    if isinstance(document, list):
        return [number for item in document for number in numbers_of(item)]
    return [document] if isinstance(document, (int, float)) else []


def test_status_says_the_same_as_the_metrics(fresh, running, own_gateway):
    own_gateway.exchange(*[outer(geneve(udp4(bytes([index])))) for index in range(100)], answers=100)
    own_gateway.refused(outer(b"junk"))
    metrics = fresh.quiet_metrics()
    numbers = numbers_of(fresh.status())
    for name in ("received", "forwarded", "dropped"):
        for count in metrics.by(f"sluice_packets_{name}_total", "worker").values():
            assert count in numbers, f"{name} {count} of a worker is not in /status"


# --- HTTP robustness -----------------------------------------------------------------------------


def check_probe(lab):
    began = time.monotonic()
    assert lab.health()[0] == 200
    assert time.monotonic() - began < PROBE_LIMIT


@contextlib.contextmanager
def connections(lab, count, greeting=b""):
    """Clients that connect, say `greeting`, and nothing more."""
    opened = []
    try:
        for _ in range(count):
            with contextlib.suppress(OSError):  # being turned away is a good answer, too
                client = lab.connect(timeout=5)
                opened.append(client)
                client.sendall(greeting)
        yield opened
    finally:
        for client in opened:
            client.close()


@pytest.mark.parametrize(
    "greeting", [b"", b"GET /health HTTP/1.1\r\nX-Slow: ", b"\x16\x03\x01\x02\x00\x01"]
)
def test_idle_clients_delay_no_probe(fresh, running, greeting):
    with connections(fresh, 200, greeting):
        for _ in range(5):
            check_probe(fresh)


def test_slow_clients_delay_no_probe(fresh, running):
    with connections(fresh, 50, b"GET /health HTTP/1.1\r\n") as clients:
        for round_ in range(20):
            for client in clients:
                with contextlib.suppress(OSError):
                    client.send(b"a")
            if round_ % 5 == 0:
                check_probe(fresh)
            time.sleep(0.1)


GARBAGE = {
    "megabyte": os.urandom(1 << 20),
    "zeros": bytes(1 << 20),
    "huge-header": b"GET /health HTTP/1.1\r\nX-Big: " + b"b" * (1 << 20) + b"\r\n\r\n",
    "many-headers": b"GET /health HTTP/1.1\r\n" + b"X-Many: m\r\n" * 100_000 + b"\r\n",
    "huge-path": b"GET /" + b"p" * (1 << 20) + b" HTTP/1.1\r\n\r\n",
    "no-http": b"\r\n\r\n\r\n",
    "wrong-length": b"GET /health HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
    "huge-body": b"POST /health HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1_000_000,
    "many-requests": b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n" * 10_000,
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_delays_no_probe(fresh, running, garbage):
    for _ in range(3):
        with fresh.connect(timeout=5) as client, contextlib.suppress(OSError):
            client.sendall(garbage)
        check_probe(fresh)
    assert running.running
    assert "Fatal error" not in running.text


def ask(lab, request):
    """The status codes of all answers to these bytes."""
    answer = b""
    with lab.connect(timeout=5) as client, contextlib.suppress(OSError):
        client.sendall(request)
        while data := client.recv(65536):
            answer += data
    return [int(line.split()[1]) for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1.")]


HOST = b"Host: appliance\r\n"
REQUESTS = {  # what is asked, and the code of the one answer
    "origin-form": (b"GET /health?x=1 HTTP/1.1\r\n" + HOST + b"\r\n", 200),
    "absolute-form": (b"GET http://192.0.2.1:8080/metrics HTTP/1.1\r\n" + HOST + b"\r\n", 200),
    "absolute-form-bare": (b"GET http://192.0.2.1 HTTP/1.1\r\n" + HOST + b"\r\n", 200),
    "absolute-form-query": (b"GET http://appliance?x HTTP/1.1\r\n" + HOST + b"\r\n", 200),
    "absolute-form-unknown": (b"GET http://appliance/no HTTP/1.1\r\n" + HOST + b"\r\n", 404),
    "old-without-host": (b"GET /health HTTP/1.0\r\n\r\n", 200),
    "old-with-two-hosts": (b"GET /health HTTP/1.0\r\n" + HOST + HOST + b"\r\n", 400),
    "without-host": (b"GET /health HTTP/1.1\r\n\r\n", 400),
    "two-hosts": (b"GET /health HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400),
    "long-header": (b"GET /health HTTP/1.1\r\n" + HOST + b"X: " + b"y" * 20_000 + b"\r\n\r\n", 431),
    "pipelined": ((b"GET /health HTTP/1.1\r\n" + HOST + b"\r\n") * 300, 200),
}


@pytest.mark.parametrize(("request_", "code"), REQUESTS.values(), ids=REQUESTS.keys())
def test_a_connection_gets_one_answer(fresh, running, request_, code):
    assert ask(fresh, request_) == [code]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize("path", ["/health", "/metrics", "/status"])
def test_other_methods_are_405(fresh, running, method, path):
    assert fresh.http(path, method=method)[0] == 405


@pytest.mark.parametrize("path", ["/nothing", "/health/", "/metrics/x", "/../etc/passwd", "/%00"])
def test_unknown_paths_are_404(fresh, running, path):
    assert fresh.http(path)[0] == 404


def test_a_bare_tcp_connect_is_accepted(fresh, running):
    for _ in range(100):
        fresh.connect().close()
    check_probe(fresh)


def test_http_load_does_not_disturb_packets(fresh, running, own_gateway):
    with connections(fresh, 100, b"GET /metrics HTTP/1.1\r\n"):
        packets = [outer(geneve(udp4(b"meanwhile", sport=index + 1))) for index in range(200)]
        assert len(own_gateway.exchange(*packets, answers=200)) == 200


# --- privileges ----------------------------------------------------------------------------------


@pytest.mark.parametrize("io", BACKENDS)
def test_no_thread_keeps_a_capability(fresh, io):
    program = fresh.start_appliance("--io", io, "--workers", 2)
    tasks = list(Path(f"/proc/{program.pid}/task").iterdir())
    assert len(tasks) > 2
    for task in tasks:
        fields = dict(
            line.split(":\t", 1) for line in (task / "status").read_text().splitlines() if ":\t" in line
        )
        for name in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
            assert int(fields[name], 16) == 0, f"{fields['Name']}: {name} {fields[name]}"


@pytest.fixture(scope="module")
def public_binary(tmp_path_factory):
    """A copy of the program where every user may read it."""
    place = tmp_path_factory.mktemp("public")
    for folder in (place, *place.parents):
        if folder.stat().st_mode & 0o005 != 0o005:
            folder.chmod(folder.stat().st_mode | 0o055)
    shutil.copy(BIN / "sluice", place / "sluice")
    (place / "sluice").chmod(0o755)
    return place / "sluice"


NO_CAPABILITIES = ("--bounding-set=-all", "--inh-caps=-all")
UNPRIVILEGED = {
    "nobody": ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *NO_CAPABILITIES),
    "root-without-capabilities": ("setpriv", *NO_CAPABILITIES),
}


# --- mistakes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("io", (*BACKENDS, "auto"))
@pytest.mark.parametrize("prefix", UNPRIVILEGED.values(), ids=UNPRIVILEGED.keys())
def test_no_privilege_is_77(fresh, public_binary, prefix, io):
    program = fresh.start("appliance", public_binary, "run", "--io", io, prefix=prefix)
    check_refusal(program, 77)


@pytest.mark.parametrize("io", BACKENDS)
def test_a_busy_health_port_is_71(fresh, io):
    with fresh.socket("appliance", ("0.0.0.0", HEALTH_PORT), socket.SOCK_STREAM) as holder:
        holder.listen()
        check_refusal(refused(fresh, "--io", io), 71, "8080")


@pytest.mark.parametrize("io", BACKENDS)
def test_a_busy_geneve_port_is_71(fresh, io):
    with fresh.socket("appliance", ("0.0.0.0", 6081)):
        check_refusal(refused(fresh, "--io", io), 71, "6081")


@pytest.mark.parametrize("io", BACKENDS)
def test_a_kernel_geneve_device_is_71(fresh, io):
    namespace = fresh.namespace("appliance")
    device = ("ip", "-n", namespace, "link")
    added = run(*device, "add", "gnv0", "type", "geneve", "external", check=False)
    if added.returncode != 0:
        pytest.skip(f"this kernel makes no geneve device: {added.stderr.strip()}")
    try:
        run(*device, "set", "gnv0", "up")
        check_refusal(refused(fresh, "--io", io), 71, "6081")
    finally:
        run(*device, "del", "gnv0")


@pytest.mark.parametrize("io", BACKENDS)
def test_a_missing_interface_is_71(fresh, io):
    check_refusal(refused(fresh, "--io", io, "--interface", "nosuch0"), 71, "nosuch0")


BAD_FLAGS = {
    "unknown": ("--nonsense",),
    "io": ("--io", "carrier-pigeon"),
    "workers-0": ("--workers", "0"),
    "workers-negative": ("--workers", "-3"),
    "workers-word": ("--workers", "many"),
    "health-port": ("--health", "0.0.0.0:99999"),
    "health-word": ("--health", "nonsense"),
    "address": ("--address", "300.1.2.3"),
    "drain": ("--drain-timeout", "soon"),
    "no-value": ("--io",),
}


@pytest.mark.parametrize("flags", BAD_FLAGS.values(), ids=BAD_FLAGS.keys())
def test_bad_flags_are_64(fresh, flags):
    check_refusal(fresh.start("appliance", BIN / "sluice", "run", *flags), 64)


def test_an_unknown_command_is_64(fresh):
    check_refusal(fresh.start("appliance", BIN / "sluice", "explode"), 64)


@pytest.mark.parametrize("word", ["--help", "version"])
def test_asking_for_help_is_no_mistake(word):
    asked = subprocess.run([BIN / "sluice", word], capture_output=True, text=True)
    assert asked.returncode == 0
    assert asked.stdout and not asked.stderr


@contextlib.contextmanager
def interface_mtu(lab, mtu):
    device = ("ip", "-n", lab.namespace("appliance"), "link", "set", "eth0", "mtu")
    run(*device, mtu)
    try:
        yield
    finally:
        run(*device, 9001)


@pytest.mark.parametrize("io", BACKENDS)
def test_an_mtu_that_does_not_fit_is_78_when_it_was_asked_for(fresh, io):
    with interface_mtu(fresh, 1500):
        wanted = {"SLUICE_MTU": "8500"}
        check_refusal(refused(fresh, "--io", io, environment=wanted), 78, "1500")


@pytest.mark.parametrize("io", BACKENDS)
def test_a_default_mtu_is_lowered_with_one_warning(fresh, own_gateway, io):
    with interface_mtu(fresh, 1500):
        program = fresh.start_appliance("--io", io)
        warnings = [line for line in program.text.splitlines() if "mtu" in line.lower()]
        assert len(warnings) == 1, program.text
        assert "1432" in warnings[0]
        # The largest rewrite is bound by it: inner 1,432 bytes, two more are too big.
        fits = b"weakly typed".ljust(1430 - 28)
        own_gateway.ask(outer(geneve(udp4(fits, dport=3000))))
        own_gateway.refused(outer(geneve(udp4(fits + b"+", dport=3000))))
        assert fresh.quiet_metrics().dropped() == {"too_big": 1}


@pytest.mark.parametrize("second", BACKENDS)
@pytest.mark.parametrize("first", BACKENDS)
def test_a_second_appliance_is_refused_by_name(fresh, own_gateway, first, second):
    one = fresh.start_appliance("--io", first, "--workers", 1)
    other = refused(fresh, "--io", second, "--workers", 1, "--health", "0.0.0.0:8090")
    check_refusal(other, 71, f"pid {one.pid}")
    assert fresh.health()[0] == 200
    own_gateway.ask(outer(geneve(udp4(b"one answer"))))
    assert fresh.quiet_metrics().dropped() == {}


@pytest.mark.parametrize("io", BACKENDS)
def test_after_kill_9_a_new_one_starts(fresh, own_gateway, io):
    fresh.start_appliance("--io", io, "--workers", 2).kill()
    fresh.start_appliance("--io", io, "--workers", 2)
    own_gateway.ask(outer(geneve(udp4(b"as if nothing had happened"))))


def test_address_restricts_what_is_ours(fresh, own_gateway):
    fresh.start_appliance("--io", "udp", "--address", ADDRESS)
    own_gateway.ask(outer(geneve(udp4(b"mine"))))
    own_gateway.refused(outer(geneve(udp4(b"not mine")), destination="192.168.20.6"))
    own_gateway.check_silence()
